"""Handles the events of petitions and letters: one transaction per batch."""
