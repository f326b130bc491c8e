"""Mean entropy of the predicted distributions (Grandvalet and Bengio, NeurIPS 2004)."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import each_alone
from gpuworker.core.signatures.outputs import negative_entropy


def entropy(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, ln C], lower is surer: mean over samples of -sum p ln p."""
    return each_alone(candidates, lambda log_probs, _: Estimate(float(-negative_entropy(log_probs).mean())))
