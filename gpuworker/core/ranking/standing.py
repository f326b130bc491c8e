"""Who is ahead of whom: paired differences, shared places and the probability of being best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.scorers.intervals import Z

DRAWS = 4000
EQUAL = 1e-4  # a hundredth of a point counts as equal: copies share the win
CLOSE = 0.01  # a point

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Standing:
    """ran: (M,) candidate indexes. better: (M, M) true where the row's candidate is separably better. p_best: (M,).
    p_close: (M,) probability of coming within one point of the best, from above where errors have heavy tails.

    won: (DRAWS, M) whom such draws make the best, copies together. mean: (M,) predictions. joint_right, agreement: (M, M) shares over
    the samples, None without a consensus.
    """

    ran: NDArray[np.int64]
    mean: F64
    better: NDArray[np.bool_]
    p_best: F64
    p_close: F64
    won: NDArray[np.bool_]
    joint_right: F64 | None
    agreement: F64 | None

    def of(self, index: int) -> tuple[int, int, float] | None:
        """rank_from, rank_to and p_best of a candidate, None when it did not run."""
        found = np.flatnonzero(self.ran == index)
        if not len(found):
            return None
        place = int(found[0])
        return 1 + int(self.better[:, place].sum()), len(self.ran) - int(self.better[place].sum()), float(self.p_best[place])

    def leaders(self) -> NDArray[np.intp]:
        """Places in `ran` of those not separable from the top, best first."""
        top = int(np.argmax(self.mean))
        rest = np.flatnonzero(~self.better[top])
        return rest[np.lexsort((self.ran[rest], -self.mean[rest]))]


def standing(
    ran: NDArray[np.int64], mean: F64, covariance: F64, joint_right: F64 | None, agreement: F64 | None, tail: float = 1.0
) -> Standing:
    """Places from means and the covariance of their errors; two candidates are separable at 90 % two-sided.

    tail: how much wider than normal the far ends of the errors are, for p_close.
    """
    variance = np.diag(covariance)
    apart = np.sqrt(np.maximum(variance[:, None] + variance[None] - 2 * covariance, 0.0))
    better = mean[:, None] - mean[None] > Z * apart + EQUAL
    return Standing(ran, mean, better, *_chances(mean, covariance, tail), joint_right, agreement)


def _chances(mean: F64, covariance: F64, tail: float) -> tuple[F64, F64, NDArray[np.bool_]]:
    """Shares of draws from N(mean, covariance) that each candidate wins, ties sharing the win, and of draws `tail` times as wide in which
    it comes within one point; and who wins each of the latter."""
    # Drawn best first, so that the order of the candidates does not move the figures.
    order = np.argsort(-mean, kind="stable")
    scale, axes = np.linalg.eigh(covariance[np.ix_(order, order)])
    root = (axes * np.sqrt(np.maximum(scale, 0.0))) @ axes.T
    noise = np.random.default_rng(0).standard_normal((DRAWS, len(mean))) @ root
    first, wide = _gap(mean[order] + noise) <= EQUAL, _gap(mean[order] + tail * noise)
    best, close, won = np.empty(len(mean)), np.empty(len(mean)), np.empty(wide.shape, np.bool_)
    best[order] = (first / first.sum(1, keepdims=True)).mean(0)
    close[order] = (wide <= CLOSE).mean(0)
    won[:, order] = wide <= EQUAL
    return best, close, won


def _gap(draws: F64) -> F64:
    return np.asarray(draws.max(1, keepdims=True) - draws)
