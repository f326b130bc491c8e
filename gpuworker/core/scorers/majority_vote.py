"""Agreement with the majority of the other models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import F64, ballots, told
from gpuworker.core.scorers.consensus import Votes


def majority_vote(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1], higher is better: share of samples with the label that most of the others give; tied labels share the credit.

    One vote for each other candidate, copies included. Cannot tell where a consensus says nothing, as `dawid_skene`.
    """
    found = ballots(candidates)
    if found is None:
        return told(len(candidates), None, np.zeros(0))
    return told(len(candidates), found, agreement_with_others(found.votes, found.n_labels), found.why)


def agreement_with_others(votes: Votes, n_labels: int) -> F64:
    """(M, n) -> (M,) share of samples on which each row has the plurality of the other rows; ties share the credit."""
    n = votes.shape[1]
    tally = np.zeros((n, n_labels), dtype=np.int64)
    for row in votes:
        tally[np.arange(n), row] += 1
    result = np.empty(len(votes))
    for place, row in enumerate(votes):
        others = tally.copy()
        others[np.arange(n), row] -= 1
        top = others == others.max(1, keepdims=True)
        result[place] = (top[np.arange(n), row] / top.sum(1)).mean()
    return result
