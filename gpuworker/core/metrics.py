"""What "best" means: the metric a person chose, measured where labels are known and expected where only their probabilities are.

Letters: M candidates, n samples, C labels. Every metric lies in [0, 1] and higher is better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["accuracy", "balanced_accuracy", "macro_f1", "f1", "cost"]
Votes = NDArray[np.int64]
F64 = NDArray[np.float64]

# A label's probability below this says "not excluded", not "present": hundreds of them would make any label present somewhere.
PRESENT = 0.05


@dataclass(frozen=True, slots=True)
class Metric:
    """label: whose F1 (kind "f1"). costs: C rows (true label) of C costs (answer), at least one above 0 (kind "cost")."""

    kind: Kind = "accuracy"
    label: int | None = None
    costs: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        if (self.kind == "f1") != (self.label is not None):
            raise ValueError("F1 of one label needs that label, and no other metric takes one")
        if (self.kind == "cost") != (self.costs is not None):
            raise ValueError("costs belong to the metric of kind cost")
        if self.costs is not None:
            table = np.asarray(self.costs, dtype=np.float64)
            if table.ndim != 2 or table.shape[0] != table.shape[1] or not np.isfinite(table).all() or table.min() < 0 or table.max() <= 0:
                raise ValueError("costs must be a square table of numbers from 0 up, not all 0")

    @property
    def name(self) -> str:
        """As in a sentence: "predicted accuracy"."""
        return {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1", "f1": "F1", "cost": "saved cost"}[
            self.kind
        ]


ACCURACY = Metric()


def observed(metric: Metric, labels: NDArray[np.int64], votes: Votes, n_labels: int, weights: F64 | None = None) -> F64:
    """(n,) labels, (M, n) answers -> (M,). weights: (n,) importance of the samples, equal when None."""
    return expected(metric, np.eye(n_labels)[labels], votes, weights)


def expected(metric: Metric, posterior: F64, votes: Votes, weights: F64 | None = None) -> F64:
    """(n, C) label probabilities, (M, n) answers -> (M,); exact where the probabilities are 0 or 1.

    accuracy: mean probability of the answer. F1: 2 sum p h / (sum p + sum h); balanced accuracy: mean recall sum p h / sum p. Both
    means are over the labels that occur, each weighted by the probability that it does. cost: 1 - mean cost / highest cost.
    """
    n, c = posterior.shape
    m = len(votes)
    if not n:
        return np.zeros(m)
    share = np.full(n, 1 / n) if weights is None else weights / max(float(weights.sum()), 1e-300)
    if metric.costs is not None:
        table = np.asarray(metric.costs, dtype=np.float64)
        paid = np.take_along_axis(posterior @ table, votes.T, 1).T
        return np.asarray(1 - paid @ share / table.max())
    chosen = np.take_along_axis(posterior, votes.T, 1).T
    if metric.kind == "accuracy":
        return np.asarray(chosen @ share)
    slots = (votes + c * np.arange(m)[:, None]).ravel()
    hit: F64 = np.bincount(slots, (chosen * share).ravel(), m * c).reshape(m, c).astype(np.float64)
    given: F64 = np.bincount(slots, np.broadcast_to(share, (m, n)).ravel(), m * c).reshape(m, c).astype(np.float64)
    mass = share @ posterior
    if metric.label is not None:
        return _f1(hit, mass, given)[:, metric.label]
    certain = np.where(posterior >= PRESENT, posterior, 0.0)[share > 0]
    occurs = 1 - np.prod(1 - certain, axis=0)
    if metric.kind == "balanced_accuracy":
        recall = hit / np.maximum(mass, 1e-300)
        return np.asarray(recall @ occurs / max(float(occurs.sum()), 1e-300))
    either = np.maximum(occurs, given > 0)
    return np.asarray((_f1(hit, mass, given) * either).sum(1) / np.maximum(either.sum(1), 1e-300))


def _f1(hit: F64, mass: F64, given: F64) -> F64:
    return np.asarray(2 * hit / np.maximum(mass + given, 1e-300))
