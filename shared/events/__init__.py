"""Event classes, one module per producing service, and the CloudEvents envelope they travel in."""
