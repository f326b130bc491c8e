"""What the labels so far say of every model's accuracy on all samples.

The prior is normal with the mean and variance of Beta(w a, w (1 - a)): a is the experts' mixed expectation, w the labels it is worth.
Models that answer alike share its error, so a label that surprises one of them moves all. Labelled samples estimate every accuracy as
"expected of the answers, plus the weighted mean surprise" (a difference estimator, Sarndal et al. 1992, with inverse-propensity
weights): differences come from the samples on which models differ, and nothing is learnt where the crowd had foreseen the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.labelling.contest import LEAST, OWN, Contest, Label

F64 = NDArray[np.float64]

LEVEL, Z = 0.9, 1.6448536
TEMPER = 0.3  # power of an expert's likelihood: models are alike, so their surprises are not independent evidence
NUGGET = 1e-5
HARD = 0.1  # variance of what makes a sample hard for all models alike, which the crowd cannot foresee
DRAWS = 2_000
WITHIN = 0.01


@dataclass(frozen=True, eq=False)
class Belief:
    """mean: (M,) accuracies; covariance: (M, M). experts: (E,) weights now, sum 1. n: labels behind it."""

    mean: F64
    covariance: F64
    experts: F64
    n: int

    @property
    def leader(self) -> int:
        """The model with the highest mean; of equal ones the first."""
        return int(np.argmax(self.mean))

    @cached_property
    def interval(self) -> tuple[F64, F64]:
        """(M,) ends of the interval of LEVEL: symmetric on the scale of log odds, so that it stays inside [0, 1]."""
        half = Z * np.sqrt(np.maximum(np.diag(self.covariance), 0.0)) / (self.mean * (1 - self.mean))
        odds = np.log(self.mean / (1 - self.mean))
        return 1 / (1 + np.exp(half - odds)), 1 / (1 + np.exp(-half - odds))

    @cached_property
    def near_best(self) -> F64:
        """(M,) probability of being WITHIN of the best: a share of draws, made best first, so that the order of models moves nothing."""
        order = np.argsort(-self.mean, kind="stable")
        scale, axes = np.linalg.eigh(self.covariance[np.ix_(order, order)])
        noise = np.random.default_rng(0).standard_normal((DRAWS, len(order)))
        draws = self.mean[order] + (noise * np.sqrt(np.maximum(scale, 0.0))) @ axes.T
        result = np.empty(len(order))
        result[order] = (draws >= draws.max(1, keepdims=True) - WITHIN).mean(0)
        return result


def believe(given: Contest, labels: Sequence[Label]) -> Belief:
    """Deterministic. Raises ValueError for a sample that is not there or was labelled twice."""
    items = np.array([label.item for label in labels], dtype=np.int64)
    if len(np.unique(items)) < len(items) or (len(items) and not 0 <= items.min() <= items.max() < given.samples):
        raise ValueError("labels must be of different samples of the contest")
    experts = given.weights
    if not len(items):
        return Belief(experts @ given.expected, _prior(given, experts), experts, 0)
    seen, noise = _observed(given, items, np.array([x.label for x in labels]), np.array([x.weight for x in labels]))
    surprise = seen - given.expected
    evidence = np.linalg.solve(_prior(given, experts) + noise, surprise.T)
    logs = np.log(experts) - TEMPER / 2 * np.einsum("em,me->e", surprise, evidence)
    experts = np.exp(logs - logs.max())
    experts /= experts.sum()
    prior = _prior(given, experts)
    gain = np.linalg.solve(prior + noise, prior).T
    base = experts @ given.expected
    mean = np.clip(base + gain @ (seen - base), LEAST / 2, 1 - LEAST / 2)
    return Belief(mean, prior - gain @ prior, experts, len(items))


def _prior(given: Contest, experts: F64) -> F64:
    """(M, M) covariance of expected minus true accuracy."""
    base = experts @ given.expected
    spread = np.sqrt(base * (1 - base) / (given.worth + 1))
    alike = (1 - OWN) * given.agreement + OWN * np.eye(given.models)
    return np.asarray(alike * np.outer(spread, spread))


def _observed(given: Contest, items: NDArray[np.int64], labels: NDArray[np.int64], weights: F64) -> tuple[F64, F64]:
    """(M,) accuracies that the labelled samples estimate, and the (M, M) covariance of what chance adds to them."""
    votes, right = given.votes[:, items], given.right[:, items]
    share = weights / weights.sum()
    seen = given.right.mean(1) + ((votes == labels) - right) @ share
    noise = (given.noise + HARD) * (share**2).sum()
    return np.asarray(seen), np.asarray(noise + NUGGET * np.eye(given.models))
