"""Agreement with the ensemble of all models (EnsV: Hu et al., NeurIPS 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import ballots, told


def ensv(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1], higher is better: share of samples with the label of the highest mean probability over all candidates.

    Confident models weigh more than others, whether they are right or not. Cannot tell where a consensus says nothing, as `dawid_skene`.
    """
    found = ballots(candidates)
    if found is None:
        return told(len(candidates), None, np.zeros(0))
    mean = np.zeros(found.log_probs[0].shape)
    for log_probs in found.log_probs:
        mean += np.exp(log_probs)
    agree = (found.votes == mean.argmax(1)).mean(1)
    return told(len(candidates), found, agree, found.why)
