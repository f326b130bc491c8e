"""Mean confidence (Hendrycks and Gimpel, ICLR 2017): what a model would score if it were calibrated."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import each_alone
from gpuworker.core.signatures.outputs import max_confidence


def average_confidence(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [1 / C, 1], higher is surer: mean over samples of the highest probability."""
    return each_alone(candidates, lambda log_probs, _: Estimate(float(max_confidence(log_probs).mean())))
