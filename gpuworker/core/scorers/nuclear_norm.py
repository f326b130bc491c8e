"""Nuclear norm of the predictions: confident and spread over labels at once (Deng et al., ICML 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import F64, each_alone


def nuclear_norm(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in (0, 1], higher is better: ||P||_* / sqrt(n min(n, C)) of the (n, C) probabilities; 1 for sure, balanced answers."""
    return each_alone(candidates, _estimate)


def _estimate(log_probs: F64, reference: Arrays) -> Estimate:
    probs = np.exp(log_probs)
    n, c = probs.shape
    # The Gram matrix of the shorter side has the same singular values, squared.
    gram = probs.T @ probs if c <= n else probs @ probs.T
    norm = float(np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0)).sum())
    return Estimate(min(1.0, norm / float(np.sqrt(n * min(n, c)))))
