"""The `mille` command line: one module for each command."""
