"""Orders of several scorers made into one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from gpuworker.core.protocols import Estimate
from gpuworker.core.specs.scorers import Direction

F64 = NDArray[np.float64]


def places(estimates: Sequence[Estimate], direction: Direction) -> F64:
    """(M,) average ranks from 1 = best among those that could tell; NaN elsewhere."""
    sign = -1.0 if direction == "higher" else 1.0
    # Rounded, so that the last bit of a sum does not make an order.
    values = np.array([np.nan if e.value is None else sign * round(e.value, 9) for e in estimates])
    return np.asarray(rankdata(values, nan_policy="omit")) if len(values) else values


def mean_share(ranks: Sequence[F64]) -> list[float | None]:
    """Each candidate's mean share of the others that it beats, over the orders that place it; None where none does."""
    if not ranks or not len(ranks[0]):
        return []
    table = np.stack(ranks)
    counts = np.isfinite(table).sum(1, keepdims=True)
    shares = np.where(counts > 1, (counts - table) / np.maximum(counts - 1, 1), np.where(np.isfinite(table), 0.5, np.nan))
    return [round(float(column[known].mean()), 9) if (known := np.isfinite(column)).any() else None for column in shares.T]
