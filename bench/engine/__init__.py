"""How fast many models run as one plan, and whether that was known beforehand."""

from bench.engine.main import main

__all__ = ["main"]
