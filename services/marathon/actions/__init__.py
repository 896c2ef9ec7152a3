"""What marathon does, in words: import a campaign, apply tallies, publish totals, freeze a closed campaign."""
