"""The space that probes span: standardised principal axes of their features, cut into cells by a shared codebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from gpuworker.core.probes.algebra import F32, F64, Axes, principal_axes
from gpuworker.core.protocols import Arrays, ProbeView

DIMENSIONS = 32
CELL_ROWS = 20  # probes per cell on average
MOST_CELLS = 256
SMOOTHING = 3.0  # probes' worth of a model's overall accuracy in every cell
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class ProbeSpace:
    """Fitted on probes alone: it belongs to a version of the probe set, and competences stored with it stay valid.

    axes: (n, D) features -> (n, d <= 32) points. centers: (K, d).
    """

    axes: Axes
    centers: F32

    def points(self, features: NDArray[np.floating[Any]]) -> F64:
        """(n, D) features -> (n, d). Raises ValueError for features of another encoder."""
        if features.ndim != 2 or features.shape[1] != len(self.axes.matrix):
            raise ValueError(f"features must be (n, {len(self.axes.matrix)}), found {features.shape}")
        return self.axes(_finite(features))

    def cells(self, points: F64) -> NDArray[np.int64]:
        """(n, d) points -> (n,) the nearest centre."""
        half = (self.centers.astype(np.float64) ** 2).sum(1) / 2
        parts = [(points[at : at + _CHUNK] @ self.centers.T - half).argmax(1) for at in range(0, len(points), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def arrays(self) -> dict[str, F32]:
        """What `from_arrays` reads back: 4 (D d + 2 D + K d) bytes, 170 kB with 1,000 features and 256 cells."""
        return {"mean": self.axes.mean, "spread": self.axes.spread, "matrix": self.axes.matrix, "centers": self.centers}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> ProbeSpace:
        return cls(Axes(arrays["mean"], arrays["spread"], arrays["matrix"]), arrays["centers"])


def fit_space(probes: ProbeView, cells: int | None = None) -> ProbeSpace:
    """Deterministic, and the same whatever the order of the probes. cells: K, or None for one per 20 probes, 256 at most."""
    features = _finite(probes.features)
    axes = principal_axes(features, DIMENSIONS, 1e-3 * float(features.std()))
    points = axes(features)
    count = max(1, min(MOST_CELLS, len(points) // CELL_ROWS)) if cells is None else cells
    ordered = points[np.lexsort(np.round(points, 6).T)]
    codebook = KMeans(count, n_init=1, random_state=0).fit(ordered)
    return ProbeSpace(axes, codebook.cluster_centers_.astype(np.float32))


def competence(right: NDArray[np.floating[Any]], cells: NDArray[np.int64], count: int) -> F32:
    """(M, R) 0/1 correctness and (R,) cells of the probes -> (M, K) smoothed share of right answers in every cell.

    The stored form for large catalogs: 4 K bytes a model, 102 MB for 100,000 models with 256 cells.
    """
    member = np.eye(count, dtype=np.float32)[cells]
    overall = right.mean(1, keepdims=True)
    return np.asarray((right @ member + SMOOTHING * overall) / (member.sum(0) + SMOOTHING), np.float32)


def _finite(features: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    return np.asarray(np.nan_to_num(features, posinf=0.0, neginf=0.0))
