"""Difference of confidences (Guillory et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import F64, each_alone
from gpuworker.core.signatures.outputs import max_confidence


def doc(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1], higher is better: held-out accuracy less the mean confidence lost between reference and samples."""
    return each_alone(candidates, _estimate)


def _estimate(log_probs: F64, reference: Arrays) -> Estimate:
    n = int(reference["accuracy.n"][0]) if "accuracy.n" in reference else 0
    if n < 1 or "output_stats.mean_confidence" not in reference:
        return Estimate(None, why="The publisher's reference sample gives no accuracy and confidence to start from.")
    lost = float(reference["output_stats.mean_confidence"][0]) - float(max_confidence(log_probs).mean())
    return Estimate(min(1.0, max(0.0, int(reference["accuracy.correct"][0]) / n - lost)))
