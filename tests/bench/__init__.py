"""`make bench`: figures that anyone can reproduce, measured by the method in docs/benchmarks.md."""
