"""Adaptivity: how many pairs of reference and target groups look alike (arXiv 2206.00188)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.histograms import joint_histograms
from gpuworker.core.signatures.divergence import jsd

Distances = NDArray[np.float64]


def adaptivity_pairs(target: TargetView, candidates: Sequence[CandidateView], theta: float | None = None) -> list[Estimate]:
    """value in [0, n_S], higher is closer: A(S>T) = (1/n_T) sum_j sum_i 1[JSD(S_i, T_j) < theta].

    theta: by default the median over all pairs of all candidates, for which no labels are needed. n_T A(S>T) = n_S A(T>S), so its
    only asymmetry is size: larger reference samples win.
    """
    return counted(
        [group_distances(candidate.signature, target.signature) for candidate in candidates],
        theta,
        "The behaviour signature has no groups to compare with your samples.",
    )


def counted(distances: Sequence[Distances | None], theta: float | None, why: str) -> list[Estimate]:
    """Adaptivity of every table of distances, None where there is no table."""
    known = [pairs.ravel() for pairs in distances if pairs is not None]
    if theta is None:
        theta = float(np.median(np.concatenate(known))) if known else 0.0
    # ln 2 is the divergence of groups that share nothing: they never look alike.
    theta = min(theta, float(np.log(2)))
    return [Estimate(None, why=why) if pairs is None else Estimate(adaptivity(pairs, theta)) for pairs in distances]


def adaptivity(distances: Distances, theta: float) -> float:
    """A(S>T) = (1/n_T) sum_j sum_i 1[d_ij < theta] from an (n_S, n_T) table of group distances."""
    return float((distances < theta).sum() / distances.shape[1])


def group_distances(reference: Arrays, target: Arrays) -> Distances | None:
    """(n_S, n_T) divergences between all groups of both sets; None where one has no groups."""
    pair = joint_histograms(reference, target, "value_groups.counts", "group_counts")
    return None if pair is None else divergences(*pair)


def divergences(p: Distances, q: Distances) -> Distances:
    """(n_S, K) and (n_T, K) frequencies -> (n_S, n_T) divergences."""
    return jsd(p[:, None], q[None])
