"""The nearest of some points to others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.probes.algebra import F64

NEIGHBOURS = 20
_CHUNK = 1024


def nearest(points: F64, others: F64, groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None) -> tuple[NDArray[np.int64], F64]:
    """(n, k) indexes into others and distances, nearest first. groups: of points and others; one of the same group does not count."""
    k = min(NEIGHBOURS, len(others))
    squares = (others**2).sum(1)
    indexes = np.empty((len(points), k), dtype=np.int64)
    distances = np.empty((len(points), k))
    for at in range(0, len(points), _CHUNK):
        block = points[at : at + _CHUNK]
        apart = np.maximum((block**2).sum(1)[:, None] + squares - 2 * block @ others.T, 0.0)
        if groups is not None:
            apart[groups[0][at : at + _CHUNK, None] == groups[1]] = np.inf
        near = np.argpartition(apart, k - 1, axis=1)[:, :k]
        gaps = np.take_along_axis(apart, near, 1)
        order = np.argsort(gaps, axis=1, kind="stable")
        indexes[at : at + _CHUNK] = np.take_along_axis(near, order, 1)
        distances[at : at + _CHUNK] = np.sqrt(np.take_along_axis(gaps, order, 1))
    return indexes, distances
