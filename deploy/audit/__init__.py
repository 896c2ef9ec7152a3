"""The audit recomputes the totals by other means than those that made them.

It shares neither SQL nor deciding code with the counters and the ledger, and reads the log with the client library's
own parser, not with the counter's.
"""
