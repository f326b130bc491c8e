"""Mean confidence after temperature scaling on the reference sample (Guo et al., ICML 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import F64, calibrated, each_alone
from gpuworker.core.signatures.outputs import max_confidence


def calibrated_confidence(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [1 / C, 1], higher is surer: mean highest probability of softmax(log p / T), T as on the reference sample."""
    return each_alone(candidates, _estimate)


def _estimate(log_probs: F64, reference: Arrays) -> Estimate:
    scaled = calibrated(log_probs, reference)
    if scaled is None:
        return Estimate(None, why="The publisher gave no labelled reference sample, so there is no temperature to scale with.")
    return Estimate(float(max_confidence(scaled).mean()))
