"""Pure rules: the ledger, the totals, what of them is shown, and what a campaign file may say."""
