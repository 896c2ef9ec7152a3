"""Turns records of a counted topic into rows, and the changes of the totals into tally batches."""
