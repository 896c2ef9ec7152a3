"""Consumers of letters: they count its messages."""
