"""Decisions of petitions that several routes share."""
