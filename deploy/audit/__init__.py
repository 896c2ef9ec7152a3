"""The audit: the totals recomputed by other means than those that made them.

It shares no SQL with the counters and the ledger, no code of theirs that decides anything, and reads the log with the
client library's own parser, not with the counter's.
"""
