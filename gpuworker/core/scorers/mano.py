"""Norm of the normalised logits (MaNo: Xie et al., NeurIPS 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import F64, each_alone

ORDER = 4
SURE = 5.0


def mano(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [1 / C, C^(-1/4)], higher is surer: (mean of q^4 over samples and labels)^(1/4).

    q is the softmax where the model is sure on the whole (mean of -ln p over samples and labels above 5), else 1 + z + z^2 / 2
    brought to sum 1. Log-probabilities fix logits up to a constant per sample; here the least logit z of a sample is 0, which keeps
    every q positive and in the order of the probabilities.
    """
    return each_alone(candidates, _estimate)


def _estimate(log_probs: F64, reference: Arrays) -> Estimate:
    if float(-log_probs.mean()) > SURE:
        q = np.exp(log_probs)
    else:
        z = log_probs - log_probs.min(1, keepdims=True)
        q = 1 + z + z * z / 2
        q /= q.sum(1, keepdims=True)
    return Estimate(float((q**ORDER).mean() ** (1 / ORDER)))
