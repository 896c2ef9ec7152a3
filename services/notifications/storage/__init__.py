"""The tables of notifications: SQL beside the one function that runs it."""
