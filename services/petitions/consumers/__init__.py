"""Consumers of petitions: they count its signatures and acts."""
