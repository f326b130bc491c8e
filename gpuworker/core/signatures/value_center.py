"""Mean sample of a set."""

from __future__ import annotations

import numpy as np

from gpuworker.core.signatures.divergence import minmax
from gpuworker.core.signatures.inputs import Parts, SignatureInput

MAX_VALUES = 8192


def value_center(given: SignatureInput) -> Parts:
    """mean: (P,) float32, the mean row after global min-max, flattened; dim: (1,) values of one row.

    Over 8,192 values per row, runs of neighbouring values are averaged and scaled by the square root of their length,
    so that a distance of two pooled centres never exceeds that of the full ones. Columns without a finite value count 0.
    """
    values = given.values
    if values is None or not values.size:
        return {}
    rows = minmax(values).reshape(len(values), -1)
    finite = np.isfinite(rows)
    mean = np.where(finite, rows, 0.0).sum(0) / np.maximum(finite.sum(0), 1)
    dim = len(mean)
    run = -(-dim // MAX_VALUES)
    if run > 1:
        starts = np.arange(0, dim, run)
        sizes = np.diff(np.append(starts, dim))
        mean = np.add.reduceat(mean, starts) / np.sqrt(sizes)
    return {"mean": mean.astype(np.float32), "dim": np.array([dim], dtype=np.int64)}
