"""A regression from features and models' answers to labels, fitted on the probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.probes.algebra import F32, F64, Axes, Logistic, logistic, principal_axes

LEAST_LOG = -6.0
ANSWER_AXES = 48
ANSWER_SPREAD = 0.1
STACK_STRENGTH = 0.1
Tables = Sequence[NDArray[np.floating[Any]]]


@dataclass(frozen=True, slots=True)
class Stack:
    """axes: of the answers of M models side by side; None without models."""

    axes: Axes | None
    fit: Logistic

    def __call__(self, points: F64, tables: Tables, n_labels: int) -> F64:
        """(n, d) points and M tables (n, C) of log-probabilities -> (n, C) label probabilities."""
        return self.fit(_joined(self.axes, points, tables), n_labels)


def fit_stack(points: F64, labels: NDArray[np.int64], tables: Tables) -> Stack:
    """(R, d) points of the probes, (R,) labels, M tables (R, C) of answers."""
    axes = principal_axes(_side_by_side(tables), ANSWER_AXES, ANSWER_SPREAD) if tables else None
    return Stack(axes, logistic(_joined(axes, points, tables), labels, STACK_STRENGTH))


def _joined(axes: Axes | None, points: F64, tables: Tables) -> F64:
    return points if axes is None else np.concatenate([points, axes(_side_by_side(tables))], axis=1)


def _side_by_side(tables: Tables) -> F32:
    """M tables (N, C) -> (N, M C), probabilities below e^-6 alike."""
    joined = np.concatenate(tables, axis=1, dtype=np.float32)
    return np.clip(joined, LEAST_LOG, 0.0, out=joined)
