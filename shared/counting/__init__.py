"""Turns records of a counted topic into rows, and what changed into tally batches."""
