"""CODA (Kay et al., ICCV 2025) from its paper: a Dirichlet for every row of every model's confusion table, begun by the consensus of
all models; the next sample is the one whose label is expected to tell most about which model is best.

Letters: M models, n samples, C labels, P points of a grid on [0, 1].
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

CONSENSUS = 0.1  # weight of the consensus' confusion table beside the plain prior
RATE = 0.01  # what a label adds to a row
HELD = 64  # disputed samples that are weighed at each step, drawn anew: the paper's own short cut for large sets
GRID = np.linspace(1e-4, 1 - 1e-4, 96)
STEP = float(GRID[1] - GRID[0])


def coda(probabilities: F64, answers: NDArray[np.int64], budgets: Collection[int], draw: int) -> dict[int, F64]:
    """probabilities: (M, n, C). By number of labels, (M,) chance of being the best."""
    m, n, n_labels = probabilities.shape
    votes = probabilities.argmax(2)
    rows = _begun(probabilities)
    rng = np.random.default_rng([draw, 3])
    is_open = np.ones(n, dtype=np.bool_)
    disputed = (votes != votes[0]).any(0)
    found: dict[int, F64] = {}
    for count in range(max(budgets) + 1):
        label_chance = np.einsum("mcs,mis->ic", rows, probabilities)
        label_chance /= label_chance.sum(1, keepdims=True)
        balance = label_chance.mean(0)
        right = np.diagonal(rows, axis1=1, axis2=2).T  # (C, M)
        wrong = rows.sum(2).T - right
        row_best = np.stack([_best(*_density(a, b)) for a, b in zip(right, wrong, strict=True)])
        best = balance @ row_best
        if count in budgets:
            found[count] = best
        waiting = np.flatnonzero(is_open & disputed) if (is_open & disputed).any() else np.flatnonzero(is_open)
        if not len(waiting):
            break
        items = rng.permutation(waiting)[:HELD]
        left = np.zeros(len(items))
        for label in range(n_labels):
            said = votes[:, items] == label
            changed = _best_if(said, right[label], wrong[label])
            left += label_chance[items, label] * _entropy(best[:, None] + balance[label] * (changed - row_best[label][:, None]))
        item = int(items[np.argmin(left)])
        is_open[item] = False
        rows[:, answers[item]] += RATE * probabilities[:, item]
    return found


def _begun(probabilities: F64) -> F64:
    """(M, C, C) Dirichlet counts: one for the right label, one spread over the wrong ones, and the table against the consensus."""
    m, _, n_labels = probabilities.shape
    consensus = np.eye(n_labels)[probabilities.mean(0).argmax(1)]
    table = np.einsum("ic,mis->mcs", consensus, probabilities)
    table /= np.maximum(table.sum(2, keepdims=True), 1e-6)
    plain = np.full((n_labels, n_labels), 1 / max(1, n_labels - 1))
    np.fill_diagonal(plain, 1.0)
    return np.asarray(np.broadcast_to(plain, (m, n_labels, n_labels)) + CONSENSUS * table)


def _density(right: F64, wrong: F64) -> tuple[F64, F64]:
    """(M, P) density of Beta(right, wrong) and logarithm of its distribution function, on the grid."""
    logs = (right - 1)[:, None] * np.log(GRID) + (wrong - 1)[:, None] * np.log(1 - GRID)
    density = np.exp(logs - logs.max(1, keepdims=True))
    density /= density.sum(1, keepdims=True) * STEP
    below = np.cumsum(density, axis=1) * STEP - density * STEP / 2
    return density, np.log(np.maximum(below, 1e-30))


def _best(density: F64, below: F64) -> F64:
    """(M, ..., P) -> (M, ...) chance that each model's row is the highest."""
    chance = (density * np.exp(below.sum(0) - below)).sum(-1)
    return np.asarray(chance / np.maximum(chance.sum(0), 1e-30))


def _best_if(said: NDArray[np.bool_], right: F64, wrong: F64) -> F64:
    """(M, I) who gives the label -> (M, I) chances if each of I samples had it: one count more for right or for wrong."""
    hit, miss = _density(right + 1, wrong), _density(right, wrong + 1)
    density, below = (np.where(said[..., None], yes[:, None], no[:, None]) for yes, no in zip(hit, miss, strict=True))
    return _best(density, below)


def _entropy(chances: F64) -> F64:
    held = np.maximum(chances, 1e-12)
    return np.asarray(-(held * np.log(held)).sum(0))
