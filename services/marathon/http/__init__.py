"""Addresses: campaigns, cases, totals, their history and the live stream.

Everything but history is served from memory.
"""
