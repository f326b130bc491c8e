"""What the labels so far say of every model's accuracy on all samples.

The prior is normal with the mean and variance of Beta(w a, w (1 - a)): a is the experts' mixed expectation, w the labels it is worth.
What the crowd did not foresee is taken as a Gaussian process over models and samples whose covariance is a product of two (Bonilla, Chai
and Williams 2007, eq. 1): models that answer alike share a surprise, and so do samples that the models answer alike. Accuracy is the mean
of the process over all samples, known from a few of them (Bayesian Monte Carlo: Rasmussen and Ghahramani 2002, eq. 9). No weights by the
chance of the draw: a draw follows from answers and labels that are all part of what is known.
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
TEMPER = 0.1  # power of an expert's likelihood: models are alike, so their surprises are not independent evidence
NUGGET = 1e-5
LOCAL = 0.75  # share of a surprise that holds for samples answered alike, not for all of them
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
    right = given.right[:, items]
    told = (given.votes[:, items] == [label.label for label in labels]) - right + given.right.mean(1, keepdims=True)
    alike, with_all = _likeness(given, items)
    strength, axes = np.linalg.eigh(alike)

    scale, turn = _apart(given, _prior(given, experts))
    misfit = [((turn.T @ (told - word[:, None]) @ axes) ** 2 / (1 + np.outer(scale, strength))).sum() for word in given.expected]
    logs = np.log(experts) - TEMPER / 2 * np.array(misfit)
    experts = np.exp(logs - logs.max())
    experts /= experts.sum()

    prior, base = _prior(given, experts), experts @ given.expected
    scale, turn = _apart(given, prior)
    reach, weight = prior @ turn, axes.T @ with_all
    certain = 1 + np.outer(scale, strength)
    mean = base + reach @ ((turn.T @ (told - base[:, None]) @ axes / certain) @ weight)
    covariance = prior - (reach * (weight**2 / certain).sum(1)) @ reach.T
    return Belief(np.clip(mean, LEAST / 2, 1 - LEAST / 2), covariance, experts, len(items))


def _prior(given: Contest, experts: F64) -> F64:
    """(M, M) covariance of expected minus true accuracy."""
    base = experts @ given.expected
    spread = np.sqrt(base * (1 - base) / (given.worth + 1))
    alike = (1 - OWN) * given.agreement + OWN * np.eye(given.models)
    return np.asarray(alike * np.outer(spread, spread))


def _likeness(given: Contest, items: NDArray[np.int64]) -> tuple[F64, F64]:
    """(L, L) covariance of surprises at the labelled samples, in units of that of all samples' mean, and (L,) of each with that mean."""
    local = LOCAL / given.likeness * given.answered_alike(items)
    return 1 - LOCAL + local[items], 1 - LOCAL + local.mean(0)


def _apart(given: Contest, prior: F64) -> tuple[F64, F64]:
    """(M,) variances and the (M, M) turn T into mixtures of models with independent surprises: T' noise T = 1, T' prior T = variances."""
    noise = np.linalg.cholesky(given.noise + HARD + NUGGET * np.eye(given.models))
    scale, axes = np.linalg.eigh(np.linalg.solve(noise, np.linalg.solve(noise, prior).T))
    return np.maximum(scale, 0.0), np.linalg.solve(noise.T, axes)
