"""Decisions that http and the sender share."""
