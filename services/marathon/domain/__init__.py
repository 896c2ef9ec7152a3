"""Pure rules: the ledger, the totals and their disclosure, campaign files."""
