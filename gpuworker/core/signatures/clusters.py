"""Parts of a sample set: clusters of rows in the modality's probe features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.signatures.inputs import array_order

CLUSTER_ROWS = 25
MAX_CLUSTERS = 12
CLUSTERED_ROWS = 2048
_POWER_STEPS = 20
_MEANS_STEPS = 10

Rows = NDArray[np.intp]


def clusters(features: NDArray[np.float32]) -> list[Rows]:
    """(N, D) -> up to 12 sets of row indexes of at least 25 rows each (or one of all rows), by halving the largest again and again.

    A part is halved by 2-means that start on both sides of its mean along its longest axis, or at the median of that axis
    where one mean would keep fewer than 25 rows; a part that cannot be halved stays. Looks at 2,048 rows at most, chosen, like
    everything here, by the rows' content, so that their order does not matter.
    """
    order = array_order(features)[:CLUSTERED_ROWS]
    rows = np.nan_to_num(features[order], posinf=0.0, neginf=0.0).astype(np.float64)
    spread = rows.std(0)
    rows = (rows - rows.mean(0)) / np.where(spread > 0, spread, 1.0)
    whole: list[NDArray[np.int64]] = [np.arange(len(rows))]
    done: list[NDArray[np.int64]] = []
    while whole and len(whole) + len(done) < MAX_CLUSTERS:
        largest = whole.pop(max(range(len(whole)), key=lambda place: len(whole[place])))
        side = _halved(rows[largest]) if len(largest) >= 2 * CLUSTER_ROWS else None
        if side is None:
            done.append(largest)
        else:
            whole += [largest[side], largest[~side]]
    return [order[part] for part in done + whole]


def _halved(rows: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """One side of a part; None where no cut leaves enough rows on both sides."""
    centred = rows - rows.mean(0)
    axis = centred[np.square(centred).sum(1).argmax()]
    for _ in range(_POWER_STEPS):
        axis = (centred @ axis) @ centred
        length = np.linalg.norm(axis)
        if length < 1e-12:
            return None
        axis /= length
    along = centred @ axis
    for side in (_two_means(rows, along > 0), along > np.median(along)):
        if min(side.sum(), (~side).sum()) >= CLUSTER_ROWS:
            return side
    return None


def _two_means(rows: NDArray[np.float64], side: NDArray[np.bool_]) -> NDArray[np.bool_]:
    for _ in range(_MEANS_STEPS):
        if side.all() or not side.any():
            break
        apart = rows[side].mean(0) - rows[~side].mean(0)
        middle = (rows[side].mean(0) + rows[~side].mean(0)) / 2
        moved = (rows - middle) @ apart > 0
        if (moved == side).all():
            break
        side = moved
    return side
