"""Intervals of shares."""

from __future__ import annotations

from math import sqrt

LEVEL = 0.9
Z = 1.6448536269514722  # two-sided 90 %


def wilson(share: float, n: int, z: float = Z) -> tuple[float, float]:
    """Wilson score interval of a share of n independent trials, within [0, 1] (Wilson, JASA 1927). n >= 1."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
