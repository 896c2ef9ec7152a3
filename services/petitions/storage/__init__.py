"""The SQL of petitions beyond counting."""
