"""What every part that reads a model's outputs needs from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOOR = -50.0


def max_confidence(log_probs: NDArray[Any]) -> NDArray[np.float64]:
    """(N, C) log-probabilities -> (N,) highest probability, in [0, 1]."""
    return np.asarray(np.exp(log_probs.max(1).astype(np.float64)).clip(0.0, 1.0))


def negative_entropy(log_probs: NDArray[Any]) -> NDArray[np.float64]:
    """(N, C) -> (N,) sum of p log p, in [-ln C, 0]; probabilities of zero count as zero."""
    floored = np.maximum(log_probs.astype(np.float64), FLOOR)
    return np.asarray((np.exp(floored) * floored).sum(1))
