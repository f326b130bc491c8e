"""What labelled probes say about the samples of one search, before any candidate is looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from gpuworker.core.probes.algebra import F32, F64, Logistic, logistic
from gpuworker.core.probes.fits import ProbeFits
from gpuworker.core.probes.nearest import nearest
from gpuworker.core.probes.space import SMOOTHING, ProbeSpace
from gpuworker.core.protocols import ProbeView, TargetView

if TYPE_CHECKING:
    from gpuworker.core.probes.panel import Panel

MOST_WEIGHT = 20.0
RATIO_STRENGTH = 0.3
TEACHER_STRENGTH = 0.3
FLOOR = 0.05  # of a label's share in a neighbourhood that does not show it


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest probes of n samples. distances: (n, k) ascending; kernel: (n, R) sparse, each row sums to 1."""

    distances: F64
    kernel: csr_array


class Vicinity:
    """Everything between samples and probes, each part computed when first asked for and then kept.

    Letters: n samples, R probes, d dimensions, K cells, C labels. Weights over the probes sum to 1: a model's expected quality is
    its weighted quality on the probes.
    """

    def __init__(self, features: F32, probes: ProbeView, fits: ProbeFits | None = None) -> None:
        self.features = features
        self.probes = probes
        self.fits = fits or ProbeFits(probes)
        self.panel: Panel | None = None  # the last one that `panel_of` made

    @property
    def space(self) -> ProbeSpace:
        return self.fits.space

    @cached_property
    def points(self) -> F64:
        """(n, d) the samples."""
        return self.space.points(self.features)

    @cached_property
    def probe_points(self) -> F64:
        """(R, d)"""
        return self.fits.points

    @cached_property
    def probe_cells(self) -> NDArray[np.int64]:
        """(R,)"""
        return self.fits.cells

    @cached_property
    def histogram(self) -> F64:
        """(K,) share of the samples in every cell."""
        return np.bincount(self.space.cells(self.points), minlength=len(self.space.centers)) / max(1, len(self.points))

    @cached_property
    def neighbours(self) -> Neighbours:
        return _neighbours(self.points, self.probe_points)

    @cached_property
    def cell_weights(self) -> F64:
        """(R,) A1: the samples' share of each cell over its probes, smoothed as `space.competence` is."""
        population = np.bincount(self.probe_cells, minlength=len(self.histogram))
        each = self.histogram / (population + SMOOTHING)
        return np.asarray(each[self.probe_cells] + SMOOTHING * each.sum() / len(self.probe_cells))

    @cached_property
    def neighbour_weights(self) -> F64:
        """(R,) A2: how much of the samples' neighbourhoods each probe makes up."""
        return np.asarray(self.neighbours.kernel.mean(0))

    @cached_property
    def ratios(self) -> F64:
        """(R,) A3: density of the samples over that of the probes, by one logistic regression, in [1/20, 20]."""
        n, r = len(self.points), len(self.probe_points)
        side = np.repeat(np.array([0, 1]), [r, n])
        balance = np.repeat(np.array([(n + r) / (2 * r), (n + r) / (2 * n)]), [r, n])
        chance = logistic(np.concatenate([self.probe_points, self.points]), side, RATIO_STRENGTH, balance)
        from_samples = chance(self.probe_points, 2)[:, 1]
        return np.clip(from_samples / (1 - from_samples), 1 / MOST_WEIGHT, MOST_WEIGHT)

    @cached_property
    def importance_weights(self) -> F64:
        return np.asarray(self.ratios / self.ratios.sum())

    @cached_property
    def effective_probes(self) -> float:
        """How many probes lie where the samples lie: Kish's effective sample size of the importance weights, times the part of the
        samples' mass that ratios above the least make up (their mean over the probes is 1 unless samples lie where no probe does)."""
        mass = float(np.where(self.ratios > 1 / MOST_WEIGHT, self.ratios, 0.0).mean())
        return float(min(1.0, mass) / (self.importance_weights**2).sum())

    @cached_property
    def distance(self) -> float:
        """Mean distance of the samples to their nearest probes, over that of probes to the nearest of other publishers."""
        return float(self.neighbours.distances.mean() / max(self.fits.spacing, 1e-12))

    @cached_property
    def _linear(self) -> Logistic:
        return logistic(self.probe_points, self.probes.labels, TEACHER_STRENGTH, self.ratios / self.ratios.mean())

    def linear_teacher(self, n_labels: int) -> F64:
        """T: (n, C) label probabilities from the probes, weighted by importance."""
        return self._linear(self.points, n_labels)

    def near_teacher(self, n_labels: int) -> F64:
        """K: (n, C) label shares among the nearest probes."""
        shares = self.neighbours.kernel @ np.eye(n_labels)[self.probes.labels] + FLOOR
        return np.asarray(shares / shares.sum(1, keepdims=True))


def vicinity_of(target: TargetView) -> Vicinity | None:
    """The target's own, else a new one; None without samples, features or probes."""
    if target.vicinity is not None:
        return target.vicinity
    if target.features is None or target.probes is None or not len(target.features) or not len(target.probes.labels):
        return None
    return Vicinity(target.features, target.probes)


def settle(target: TargetView, fits: ProbeFits | None = None) -> TargetView:
    """The same target with its vicinity, so that all who are given it share the work. fits: kept ones of these very probes."""
    around = vicinity_of(target)
    if around is not None and fits is not None and target.vicinity is None:
        around = Vicinity(around.features, around.probes, fits)
    return replace(target, vicinity=around)


def _neighbours(points: F64, probe_points: F64) -> Neighbours:
    indexes, distances = nearest(points, probe_points)
    kernel = np.exp(-distances / max(float(distances.mean()), 1e-9))
    kernel /= kernel.sum(1, keepdims=True)
    n, k = indexes.shape
    table = csr_array((kernel.ravel(), indexes.ravel(), np.arange(0, n * k + 1, k)), shape=(n, len(probe_points)))
    return Neighbours(distances, table)
