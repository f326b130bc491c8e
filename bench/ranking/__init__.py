"""`./dev bench ranking`: how well every scorer ranks models without labels, on tasks found in a folder of data."""

from bench.ranking.main import main

__all__ = ["main"]
