"""View models of the pages: plain values, computed by pure functions from the catalog."""
