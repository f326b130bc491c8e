"""What a model's own reference sample says about the samples, cell by cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.probes.space import SMOOTHING, ProbeSpace
from gpuworker.core.protocols import Arrays
from gpuworker.core.signatures.features import sketch_right, sketch_rows


def own_cells(space: ProbeSpace, histogram: NDArray[np.float64], signature: Arrays, n_labels: int) -> float | None:
    """Expected accuracy in [0, 1] on samples with (K,) shares of the cells; None without labelled reference rows in this space.

    A cell that the reference does not reach counts half-way between chance and the overall self-reported accuracy.
    """
    rows, right = sketch_rows(signature), sketch_right(signature)
    reported = int(signature["accuracy.n"][0]) if "accuracy.n" in signature else 0
    if rows is None or not reported or rows.shape[1] != len(space.axes.matrix):
        return None
    overall = int(signature["accuracy.correct"][0]) / reported
    share = np.full(len(rows), overall) if right is None else right.astype(np.float64)
    cells = space.cells(space.points(rows))
    number = np.bincount(cells, minlength=len(histogram))
    correct = np.bincount(cells, share, len(histogram))
    unsupported = (1 / n_labels + overall) / 2
    return float(np.clip((correct + SMOOTHING * unsupported) / (number + SMOOTHING) @ histogram, 0.0, 1.0))
