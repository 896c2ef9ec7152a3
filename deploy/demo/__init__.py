"""The demo: a real petition's published counts, replayed by invented people over real HTTP, and compared in the end.

`driver.py` runs it from start to verdict; `plan.py` computes who does what, and the expected totals.
"""
