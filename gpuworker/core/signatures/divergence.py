"""Distances between histograms (natural logarithm), as in arXiv 2206.00188 and arXiv 2010.09474."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

BINS = 100


def minmax(values: NDArray[Any]) -> NDArray[np.float64]:
    """x~: values with ONE global minimum and maximum brought to [0, 1]; a constant array gives 0. Not-finite values stay NaN."""
    x = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(x)
    if not finite.any():
        return np.full(x.shape, np.nan)
    low, high = float(x[finite].min()), float(x[finite].max())
    # Halving before subtracting keeps the range finite at the ends of float64.
    scaled = (x / 2 - low / 2) / (high / 2 - low / 2) if high > low and high / 2 > low / 2 else np.zeros(x.shape)
    return np.where(finite, scaled, np.nan)


def histogram(values: NDArray[Any], bins: int = BINS) -> NDArray[np.int64]:
    """Counts (bins,) of all values after one global min-max; not-finite values are left out."""
    x = minmax(values)
    counts, _ = np.histogram(x[np.isfinite(x)], bins=bins, range=(0.0, 1.0))
    return counts.astype(np.int64)


def normalised(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Counts -> frequencies along the last axis; an empty row becomes uniform so that every distance stays finite."""
    p = np.asarray(counts, dtype=np.float64)
    total = p.sum(axis=-1, keepdims=True)
    return np.where(total > 0, p / np.where(total > 0, total, 1), 1 / p.shape[-1])


def jsd(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Jensen-Shannon divergence along the last axis, broadcasting; KL(p||m)/2 + KL(q||m)/2 with m = (p+q)/2; in [0, ln 2]."""
    m = (p + q) / 2
    value = (xlogy(p, p).sum(-1) + xlogy(q, q).sum(-1)) / 2 - xlogy(m, m).sum(-1)
    return np.asarray(np.clip(value, 0.0, np.log(2)))


def hellinger_sq(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared Hellinger distance ||sqrt p - sqrt q||^2 / 2 along the last axis, in [0, 1]; ln 2 * H2 <= JSD <= H2."""
    return np.asarray(((np.sqrt(p) - np.sqrt(q)) ** 2).sum(-1) / 2)
