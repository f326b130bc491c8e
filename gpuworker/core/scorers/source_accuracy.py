"""What the publisher's own reference sample says."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.intervals import LEVEL, wilson


def source_accuracy(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1] with a Wilson interval, both about the reference sample and self-reported: nothing about the target."""
    return [_estimate(candidate.signature) for candidate in candidates]


def _estimate(reference: Arrays) -> Estimate:
    n = int(reference["accuracy.n"][0]) if "accuracy.n" in reference else 0
    if n < 1:
        return Estimate(None, why="The publisher gave no labelled reference sample.", about="reference")
    share = int(reference["accuracy.correct"][0]) / n
    low, high = wilson(share, n)
    return Estimate(share, low, high, LEVEL, about="reference")
