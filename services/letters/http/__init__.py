"""Routes of letters: each translates a request into one call."""
