"""Frechet distance between feature distributions (Heusel et al., NeurIPS 2017; Dowson and Landau, 1982)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.probes.algebra import F64
from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.feature_space import NO_FEATURES, feature_space

AXES = 16
LEAST_VARIANCE = 1e-4


def fid(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value >= 0, lower is closer: distance of two normal distributions fitted to the feature sketches on 16 shared axes.

    ||m_S - m_T||^2 + tr(C_S + C_T - 2 (C_S C_T)^(1/2)).
    """
    space = feature_space(target, candidates)
    if space is None:
        return [Estimate(None, why=NO_FEATURES)] * len(candidates)
    ours = space.target[:, :AXES]
    return [Estimate(None, why=NO_FEATURES) if rows is None else Estimate(frechet(rows[:, :AXES], ours)) for rows in space.candidates]


def frechet(a: F64, b: F64) -> float:
    """(N, d) against (N', d); a set of one row has no spread."""
    cov_a, cov_b = _covariance(a), _covariance(b)
    scale, axes = np.linalg.eigh(cov_a)
    root = (axes * np.sqrt(np.maximum(scale, 0.0))) @ axes.T
    # The eigenvalues of C_S C_T are those of the symmetric root C_T root.
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0.0)).sum()
    apart = a.mean(0) - b.mean(0)
    return max(0.0, float(apart @ apart + np.trace(cov_a) + np.trace(cov_b) - 2 * shared))


def _covariance(rows: F64) -> F64:
    centred = rows - rows.mean(0)
    return np.asarray(centred.T @ centred / max(1, len(rows) - 1) + LEAST_VARIANCE * np.eye(rows.shape[1]))
