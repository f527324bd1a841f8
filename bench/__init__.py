"""Benchmarks for performance engineers: figures are CPU per unit of work, judged as ratios within one run."""
