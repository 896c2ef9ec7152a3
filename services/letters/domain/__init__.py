"""Rules of letters: pure, no I/O."""
