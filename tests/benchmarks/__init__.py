"""What the project costs, measured on real servers: ``make bench``, docs/benchmarks.md."""
