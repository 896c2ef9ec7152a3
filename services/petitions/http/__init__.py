"""Routes of petitions: each turns a request into one call."""
