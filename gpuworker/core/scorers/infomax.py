"""Mutual information between sample and predicted label (Krause et al., NeurIPS 2010)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import F64, each_alone
from gpuworker.core.signatures.outputs import negative_entropy


def infomax(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, ln C], higher is better: entropy of the mean prediction less the mean entropy of the predictions."""
    return each_alone(candidates, _estimate)


def _estimate(log_probs: F64, reference: Arrays) -> Estimate:
    mean = np.log(np.exp(log_probs).mean(0, keepdims=True))
    return Estimate(max(0.0, float(negative_entropy(log_probs).mean() - negative_entropy(mean)[0])))
