"""Decisions of letters."""
