"""How well the parts of the samples are covered by parts of the reference sample: adaptivity repaired."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.adaptivity_pairs import divergences
from gpuworker.core.scorers.histograms import joint_histograms


def adaptivity_coverage(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, ln 2], lower is closer: D(S>T) = mean_j min_i JSD(S_i, T_j) over clusters of rows in the probe features.

    Without a threshold, whatever the sizes, and not symmetric: D(S>T) = 0 where every part of the samples is a part of the reference,
    though the reference may hold much else.
    """
    return [_estimate(candidate.signature, target.signature) for candidate in candidates]


def _estimate(reference: Arrays, target: Arrays) -> Estimate:
    pair = joint_histograms(reference, target, "value_groups.cluster_counts", "cluster_counts")
    if pair is None:
        return Estimate(None, why="The behaviour signature has no clusters to compare with your samples.")
    return Estimate(float(divergences(*pair).min(0).mean()))
