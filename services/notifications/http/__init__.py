"""The pages of notifications: what is stored about an address, and how to get no more mail."""
