"""Recoveries that only a person can decide on: a lost log, lost tally batches, empty topics, a restored database.

Each module looks first and says what it found; it changes something only when told to, and leaves a row in the trail
(`shared/recoveries.py`) of every database that it touches.
"""
