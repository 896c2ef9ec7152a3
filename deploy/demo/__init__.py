"""The demo: a real petition's published counts, replayed by invented people over real HTTP, and compared in the end.

`driver.py` tells the story from start to verdict; `plan.py` says who does what and what must come out.
"""
