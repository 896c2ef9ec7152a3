"""Pure rules of petitions: the contents of a request. No I/O, no framework."""
