"""Pure rules of petitions: what a request may say. No I/O, no framework."""
