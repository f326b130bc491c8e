"""Which sample to ask for next: half of the draws even, half where plausible leaders disagree, all with a known chance."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.labelling.belief import Belief
from gpuworker.core.labelling.contest import Contest

F64 = NDArray[np.float64]

EVEN = 0.5
LEAST_SHARE = 1e-3


@dataclass(frozen=True, slots=True)
class Pick:
    """The sample to ask for. weight: goes into the Label that answers it."""

    item: int
    weight: float


def pick(given: Contest, belief: Belief, closed: Collection[int], seed: int = 0) -> Pick | None:
    """closed: samples not to ask for, being labelled or skipped. None once that is all of them. The same arguments give the same pick."""
    is_open = np.ones(given.samples, dtype=np.bool_)
    is_open[[item for item in closed if 0 <= item < given.samples]] = False
    if not is_open.any():
        return None
    chance = chances(given, belief, is_open)
    item = int(np.random.default_rng([seed, given.samples - int(is_open.sum())]).choice(given.samples, p=chance))
    return Pick(item, float(1 / (is_open.sum() * chance[item])))


def chances(given: Contest, belief: Belief, is_open: NDArray[np.bool_]) -> F64:
    """(n,) chance of every sample to be drawn next; sums to 1 over the open ones, of which no one has less than half an even chance."""
    even = is_open / is_open.sum()
    disputed = np.where(is_open, dispute(given, leaders(belief)), 0.0)
    total = disputed.sum()
    return np.asarray(EVEN * even + (1 - EVEN) * disputed / total if total > 1e-9 else even)


def leaders(belief: Belief) -> F64:
    """(M,) shares by how plausible it is that a model is as good as the leader; they sum to 1."""
    best, variance = belief.leader, np.diag(belief.covariance)
    apart = np.maximum(variance + variance[best] - 2 * belief.covariance[best], 1e-8)
    plausible = np.exp(-((belief.mean[best] - belief.mean) ** 2) / (2 * apart))
    plausible[plausible < LEAST_SHARE * plausible.max()] = 0.0
    return np.asarray(plausible / plausible.sum())


def dispute(given: Contest, shares: F64) -> F64:
    """(n,) chance that two models drawn by their shares answer a sample differently."""
    heard = np.flatnonzero(shares)
    votes, own = given.votes[heard], shares[heard]
    return np.asarray(1 - sum(share * (own @ (votes == row)) for share, row in zip(own, votes, strict=True)))
