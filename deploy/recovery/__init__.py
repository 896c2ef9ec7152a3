"""Recoveries that only a person can decide on: a lost log, lost tally batches, empty topics, a restored database, dead
letters.

Each module examines first and reports. It changes something only on request, and then adds a row to the trail
(`shared/recoveries.py`) of every database that it touches.
"""
