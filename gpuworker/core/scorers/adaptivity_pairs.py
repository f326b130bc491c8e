"""Adaptivity: how many pairs of reference and target groups look alike (arXiv 2206.00188)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.words import joint_frequencies
from gpuworker.core.signatures.divergence import jsd, normalised

Distances = NDArray[np.float64]


def adaptivity_pairs(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, n_S], higher is closer: A(S>T) with theta = the median distance over all pairs of all candidates.

    No labels are used. n_T A(S>T) = n_S A(T>S), so its only asymmetry is size: larger reference samples win.
    """
    distances = [group_distances(candidate.signature, target.signature) for candidate in candidates]
    known = [pairs.ravel() for pairs in distances if pairs is not None]
    theta = float(np.median(np.concatenate(known))) if known else 0.0
    missing = Estimate(None, why="The behaviour signature has no groups to compare with your samples.")
    return [missing if pairs is None else Estimate(adaptivity(pairs, theta)) for pairs in distances]


def adaptivity(distances: Distances, theta: float) -> float:
    """A(S>T) = (1/n_T) sum_j sum_i 1[d_ij < theta] from an (n_S, n_T) table of group distances."""
    return float((distances < theta).sum() / distances.shape[1])


def group_distances(reference: Arrays, target: Arrays) -> Distances | None:
    """(n_S, n_T) divergences between all groups of both sets; None where one has no groups."""
    key = "value_groups.counts"
    if key in reference and key in target:
        p, q = normalised(reference[key]), normalised(target[key])
    else:
        words = joint_frequencies(reference, target, "group_counts")
        if words is None:
            return None
        p, q = words
    return jsd(p[:, None], q[None])
