"""Spectral meta-learner: who agrees with the rest more than chance explains (Parisi et al., PNAS 2014; Jaffe et al., AISTATS 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import F64, ballots, told
from gpuworker.core.scorers.consensus import Votes

STEPS = 300
TOLERANCE = 1e-7


def sml(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [-1, 1], higher is better: rank-one factor of the covariance of answers, mean over labels; it only orders.

    If models err independently given the label, the covariance of the answers "is it k" (+1 or -1) of models i and j is v_i v_j with
    v_i proportional to balanced accuracy - 1/2. Equal answer vectors enter once, constant ones get 0. Cannot tell where a consensus
    says nothing, as `dawid_skene`.
    """
    found = ballots(candidates)
    if found is None:
        return told(len(candidates), None, np.zeros(0))
    return told(len(candidates), found, abilities(found.votes, found.n_labels), found.why)


def abilities(votes: Votes, n_labels: int) -> F64:
    """(M, n) votes -> (M,) mean factor over the labels that are answered at all; with two labels both give the same."""
    distinct, place = np.unique(votes, axis=0, return_inverse=True)
    n = votes.shape[1]
    factors = []
    for label in range(n_labels):
        signs = np.where(distinct == label, 1.0, -1.0)
        if (signs < 0).all():
            continue
        centred = signs - signs.mean(1, keepdims=True)
        factors.append(rank_one(centred @ centred.T / n))
    return np.asarray(np.clip(np.mean(factors, axis=0), -1.0, 1.0)[place.reshape(-1)])


def rank_one(covariance: F64) -> F64:
    """(V, V) -> (V,) v with v_i v_j nearest to the entries off the diagonal, by damped least squares; its sum is not negative."""
    v = len(covariance)
    if v < 3:
        return np.zeros(v)
    off = covariance - np.diag(np.diag(covariance))
    values, vectors = np.linalg.eigh(off)
    factor = vectors[:, -1] * np.sqrt(max(float(values[-1]), 0.0))
    for _ in range(STEPS):
        rest = float(factor @ factor) - factor**2
        moved = (factor + off @ factor / np.maximum(rest, 1e-12)) / 2
        if np.abs(moved - factor).max() < TOLERANCE:
            break
        factor = moved
    return np.asarray(factor if factor.sum() >= 0 else -factor)
