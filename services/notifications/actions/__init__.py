"""Decisions that what comes in and what goes out share."""
