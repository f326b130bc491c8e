"""How often each label occurs among the samples, from what all candidates answer there and how they err on labelled probes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls

from gpuworker.core.probes.algebra import F32, F64

CAUTION = 0.2  # pull towards the labels of the probes
SMOOTHING = 5.0  # probes' worth of evenly spread errors in every column of a confusion table
LEAST_SHARE = 1e-3
MOST_RATIO = 10.0
_LEAST_WEIGHT = 0.01
_SUM = 100.0  # weight of the condition that shares sum to 1


def label_shares(answered: F64, confusion: F64, trust: F64, source: F64) -> F64:
    """(M, C) shares of each answer among the samples, (M, C, C) tables, (M,) trust that sums to 1 or less, (C,) shares among the
    probes -> (C,) shares of the labels among the samples.

    Column y of a table: shares of answers of a model to label y. Least squares over all models at once, no share negative, with a
    ridge towards the probes' shares; regularised as in Azizzadenesheli et al., ICLR 2019, with hard answers as in Lipton et al., ICML 2018.
    """
    count = len(source)
    weighted = confusion * trust[:, None, None]
    gram = np.einsum("mac,mad->cd", weighted, confusion) + CAUTION * np.eye(count) + _SUM
    right = np.einsum("mac,ma->c", weighted, answered) + CAUTION * source + _SUM
    upper = cholesky(gram)
    found, _ = nnls(upper, solve_triangular(upper, right, trans="T"))
    return np.asarray(found / found.sum())


def confusion_tables(votes: NDArray[np.int64], labels: NDArray[np.int64], weights: F64, n_labels: int) -> F64:
    """(M, R) answers to probes, (R,) their labels, (M, R) weights -> (M, C, C), columns sum to 1.

    Where a label has few probes, a model is taken to be right as often as overall and to spread its errors as its answers.
    """
    m, _ = votes.shape
    slots = (votes * n_labels + labels + n_labels**2 * np.arange(m)[:, None]).ravel()
    table = np.bincount(slots, weights.ravel(), m * n_labels**2).reshape(m, n_labels, n_labels)
    whole = np.maximum(table.sum((1, 2)), 1e-12)
    right = np.trace(table, axis1=1, axis2=2) / whole
    answers = table.sum(2) / whole[:, None]
    usual = right[:, None, None] * np.eye(n_labels) + ((1 - right)[:, None] * answers)[:, :, None]
    return np.asarray((table + SMOOTHING * usual) / (table.sum(1)[:, None] + SMOOTHING * usual.sum(1)[:, None]))


def skill(confusion: F64, source: F64) -> F64:
    """(M,) accuracy above chance where labels occur as in `source`, never quite 0."""
    right = np.einsum("mcc,c->m", confusion, source)
    return np.asarray(np.maximum(right - 1 / len(source), _LEAST_WEIGHT))


def probe_shares(labels: NDArray[np.int64], n_labels: int) -> F64:
    """(C,) shares of the labels among the probes, none of them 0."""
    shares = np.maximum(np.bincount(labels, minlength=n_labels) / max(1, len(labels)), LEAST_SHARE)
    return np.asarray(shares / shares.sum())


def shifted(posterior: F64, source: F64, shares: F64) -> F64:
    """(n, C) label probabilities under the probes' label shares -> the same under other shares."""
    ratio = np.clip(shares / source, 1 / MOST_RATIO, MOST_RATIO)
    moved = posterior * ratio
    return np.asarray(moved / moved.sum(1, keepdims=True))


def apart(publishers: NDArray[np.int64], own: tuple[int, ...]) -> F32:
    """(R,) 1 for probes of publishers that a model does not come from; 1 everywhere where there are no others."""
    others = ~np.isin(publishers, own)
    return np.asarray(others if others.any() else np.ones(len(publishers)), np.float32)
