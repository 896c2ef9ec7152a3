"""marathon's actions: import a campaign, apply tally batches, publish totals, freeze a closed campaign."""
