"""Euclidean distance between mean samples, or between word frequencies (arXiv 2206.00188)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.words import joint_frequencies


def l2_center(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value >= 0, lower is closer: each set's own global min-max, then the mean row; needs rows of equal length."""
    return [_distance(candidate.signature, target.signature) for candidate in candidates]


def _distance(reference: Arrays, target: Arrays) -> Estimate:
    key = "value_center.mean"
    if key in reference and key in target:
        ours, theirs = int(target["value_center.dim"][0]), int(reference["value_center.dim"][0])
        if ours != theirs:
            return Estimate(None, why=f"Reference rows have {theirs:,} values, yours {ours:,}: their centres cannot be compared.")
        return Estimate(float(np.linalg.norm(reference[key].astype(np.float64) - target[key])))
    words = joint_frequencies(reference, target, "counts")
    if words is not None:
        return Estimate(float(np.linalg.norm(words[0] - words[1])))
    return Estimate(None, why="The behaviour signature has no centre to compare with your samples.")
