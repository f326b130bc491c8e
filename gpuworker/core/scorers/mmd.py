"""Maximum mean discrepancy (Gretton et al., JMLR 2012) with random Fourier features (Rahimi and Recht, NeurIPS 2007)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.probes.algebra import F64
from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.feature_space import NO_FEATURES, feature_space

FREQUENCIES = 512
MEDIAN_ROWS = 8


def mmd(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [-2 / n, 2] with n the rows of the smaller sketch, lower is closer: unbiased squared distance of mean embeddings.

    Kernel exp(-|x - y|^2 / m) on the shared axes of the feature sketches; m is the median squared distance between a row of the samples and
    another of them or one of the first 8 of each candidate.
    """
    space = feature_space(target, candidates)
    if space is None:
        return [Estimate(None, why=NO_FEATURES)] * len(candidates)
    ours = space.target
    median = _median_distance(ours, np.concatenate([ours, *(rows[:MEDIAN_ROWS] for rows in space.candidates if rows is not None)]))
    frequencies = np.random.default_rng(0).standard_normal((ours.shape[1], FREQUENCIES)) * np.sqrt(2 / median)
    here = embedded(ours, frequencies)
    return [
        Estimate(None, why=NO_FEATURES) if rows is None else Estimate(discrepancy(embedded(rows, frequencies), here))
        for rows in space.candidates
    ]


def embedded(rows: F64, frequencies: F64) -> F64:
    """(N, d) -> (N, 2 F) of length 1 each; inner products approach the kernel with an error of about 1 / sqrt(F)."""
    angles = rows @ frequencies
    return np.asarray(np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / np.sqrt(frequencies.shape[1]))


def discrepancy(a: F64, b: F64) -> float:
    """Squared distance of the means of two sets of embedded rows, without what a row's likeness to itself adds."""
    return _within(a) + _within(b) - 2 * float(a.mean(0) @ b.mean(0))


def _within(rows: F64) -> float:
    n, mean = len(rows), rows.mean(0)
    square = float(mean @ mean)
    return (n * square - 1) / (n - 1) if n > 1 else square


def _median_distance(rows: F64, others: F64) -> float:
    """Median over pairs that differ; 1 where there is none."""
    squares = (rows**2).sum(1)[:, None] + (others**2).sum(1) - 2 * rows @ others.T
    apart = squares[squares > 1e-9]
    return float(np.median(apart)) if len(apart) else 1.0
