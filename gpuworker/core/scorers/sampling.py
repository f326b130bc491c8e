"""What chance adds to a prediction: the samples at hand are a few of those a model will see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.metrics import Metric, observed
from gpuworker.core.scorers.intervals import Z

F64 = NDArray[np.float64]
Votes = NDArray[np.int64]

PSEUDO_SAMPLES = Z * Z
DRAWS = 200


@dataclass(frozen=True, slots=True)
class Pairs:
    """right: (M, M) expected share of samples that two candidates both get right. agreement: (M, M) share they answer alike."""

    right: F64
    agreement: F64


def paired(posterior: F64, votes: Votes) -> Pairs:
    """(n, C) label probabilities, (M, n) answers."""
    n = max(1, votes.shape[1])
    chosen = np.take_along_axis(posterior, votes.T, 1).T
    alike = [votes == row for row in votes]
    return Pairs(
        np.stack([(same * own).sum(1) / n for same, own in zip(alike, chosen, strict=True)]), np.stack([same.sum(1) / n for same in alike])
    )


def sampling_covariance(metric: Metric, posterior: F64, votes: Votes, pairs: Pairs) -> F64:
    """(M, M) covariance of the qualities over other samples like these, and over their unknown labels.

    Accuracy in closed form, with z^2 invented samples of accuracy 1/2, as Agresti and Coull do for one share; other metrics by
    drawing samples and labels.
    """
    n = votes.shape[1]
    weight = n + PSEUDO_SAMPLES
    if metric.kind == "accuracy":
        second = (n * pairs.right + PSEUDO_SAMPLES * (0.25 + 0.25 * pairs.agreement)) / weight
        first = (n * np.diag(pairs.right) + PSEUDO_SAMPLES / 2) / weight
        return np.asarray((second - np.outer(first, first)) / weight)
    rng = np.random.default_rng(0)
    bounds = posterior.cumsum(1)
    drawn = []
    for _ in range(DRAWS):
        labels = np.minimum((rng.random((n, 1)) > bounds).sum(1), posterior.shape[1] - 1)
        drawn.append(observed(metric, labels, votes, posterior.shape[1], rng.multinomial(n, np.full(n, 1 / n)).astype(np.float64)))
    table = np.stack(drawn)
    apart = table - table.mean(0)
    # As many invented samples as above keep one sample from looking certain.
    invented = 0.25 * PSEUDO_SAMPLES / weight**2 * (1 + pairs.agreement) / 2
    return np.asarray(apart.T @ apart / DRAWS * n / weight + invented)
