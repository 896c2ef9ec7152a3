"""The SQL of letters beyond counting."""
