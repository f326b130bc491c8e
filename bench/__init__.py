"""Benchmarks: one module per published table; each writes one JSON that a docs page reads."""
