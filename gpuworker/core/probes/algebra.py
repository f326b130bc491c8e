"""Two small fits used throughout: principal axes and multinomial logistic regression. Deterministic; order of rows does not matter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse.linalg import eigsh
from sklearn.linear_model import LogisticRegression

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

WHOLE = 700  # up to this size all eigenvectors at once are faster than the few that are needed
TOP = 5
FARTHEST = 5.0  # deviations
FLOOR = 1e-3


@dataclass(frozen=True, slots=True)
class Axes:
    """A map of (n, D) rows to (n, d) points: every column standardised, cut at 5 deviations, then projected. mean, spread: (D,);
    matrix: (D, d).

    The cut keeps what hardly varies among the rows it was fitted on, such as colour among grey images, from outweighing all the rest.
    """

    mean: F32
    spread: F32
    matrix: F32

    def __call__(self, rows: NDArray[np.floating[Any]]) -> F64:
        return np.asarray(self.standard(rows) @ self.matrix)

    def standard(self, rows: NDArray[np.floating[Any]]) -> F64:
        return np.clip((np.asarray(rows, dtype=np.float64) - self.mean) / self.spread, -FARTHEST, FARTHEST)


def principal_axes(rows: NDArray[np.floating[Any]], count: int, least_spread: float) -> Axes:
    """The `count` axes of largest variance, scaled so that the first five have variance 1 on average.

    least_spread is added to every column's standard deviation, so that what is all but constant does not count.
    """
    x = np.asarray(rows, dtype=np.float64)
    plain = Axes(
        x.mean(0).astype(np.float32), (x.std(0) + max(least_spread, 1e-12)).astype(np.float32), np.zeros((x.shape[1], 0), np.float32)
    )
    z = plain.standard(x)
    n, width = z.shape
    count = max(1, min(count, width, n - 1))
    if width <= n:
        values, vectors = _largest(z.T @ z / n, count)
    else:
        values, left = _largest(z @ z.T / n, count)
        vectors = z.T @ left / np.sqrt(np.maximum(values * n, 1e-12))
    # The sign of an eigenvector is arbitrary: the largest entry is positive.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(count)])
    scale = np.sqrt(max(float(values[:TOP].mean()), 1e-12))
    return replace(plain, matrix=(vectors / scale).astype(np.float32))


def _largest(symmetric: F64, count: int) -> tuple[F64, F64]:
    """The `count` largest eigenvalues, descending, and their vectors as columns."""
    size = len(symmetric)
    if size <= WHOLE or count * 4 > size:
        values, vectors = eigh(symmetric, subset_by_index=[size - count, size - 1])
    else:
        values, vectors = eigsh(symmetric, k=count, v0=np.ones(size))
    order = np.argsort(-values, kind="stable")
    return np.maximum(values[order], 0.0), vectors[:, order]


@dataclass(frozen=True, slots=True)
class Logistic:
    """coefficients: (d, C'); intercept: (C',); classes: (C',) label indexes that occurred."""

    coefficients: F64
    intercept: F64
    classes: NDArray[np.int64]

    def __call__(self, points: F64, n_labels: int) -> F64:
        """(n, d) -> (n, C) probabilities; every label keeps at least a thousandth, also those that did not occur."""
        raw = points @ self.coefficients + self.intercept
        raw -= raw.max(1, keepdims=True)
        odds = np.exp(raw)
        result = np.full((len(points), n_labels), FLOOR)
        result[:, self.classes] += odds / odds.sum(1, keepdims=True)
        return np.asarray(result / result.sum(1, keepdims=True))


def logistic(points: F64, labels: NDArray[np.int64], strength: float, weights: F64 | None = None) -> Logistic:
    """Multinomial logistic regression with an L2 penalty of 1 / strength. weights: (n,) with mean 1, or None."""
    classes = np.unique(labels)
    if len(classes) < 2:
        return Logistic(np.zeros((points.shape[1], len(classes))), np.zeros(len(classes)), classes)
    few = len(classes) * points.shape[1] <= 300
    # One Newton step costs the square of the number of coefficients; with few of them it needs far fewer steps.
    fit = LogisticRegression(C=strength, solver="newton-cholesky" if few else "lbfgs", max_iter=400).fit(points, labels, weights)
    if len(classes) == 2:
        half = fit.coef_[0] / 2
        return Logistic(np.stack([-half, half], 1), np.array([-fit.intercept_[0], fit.intercept_[0]]) / 2, classes)
    return Logistic(fit.coef_.T, fit.intercept_, classes)
