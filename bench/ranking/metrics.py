"""Figures of one ranking: M scores, higher is better, against M true qualities. Everything is finite; a NaN figure counts as 0."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import comb

F64 = NDArray[np.float64]

TOPS = (1, 3, 5)
WORST_SHARE = 1 / 3


def figures(scores: F64, truth: F64) -> dict[str, float]:
    """regret1, regret3, regret5: best quality minus the best among the first k; tau (Kendall b), wtau (weighted), spearman, pearson;
    worst_third: chance that the first place goes to one of the worst third. Candidates without a score (NaN) come last, together.
    """
    known = np.where(np.isnan(scores), _below(scores), scores)
    shares = {k: first_shares(known, k) for k in TOPS}
    return {
        **{f"regret{k}": float(truth.max() - _expected_best(known, truth, k)) for k in TOPS},
        "tau": _correlation(stats.kendalltau, known, truth),
        "wtau": _correlation(_weighted_tau, known, truth),
        "spearman": _correlation(stats.spearmanr, known, truth),
        "pearson": _correlation(stats.pearsonr, known, truth),
        "worst_third": float(shares[1][truth <= np.quantile(truth, WORST_SHARE)].sum()),
    }


def mean_error(values: F64, truth: F64) -> float | None:
    """Mean absolute error of the values that are there; None where none is."""
    told = ~np.isnan(values)
    return float(np.abs(values[told] - truth[told]).mean()) if told.any() else None


def first_shares(scores: F64, k: int) -> F64:
    """(M,) chance of each to be among the first k when equal scores are put in random order."""
    shares = np.zeros(len(scores))
    left = float(min(k, len(scores)))
    for value in np.unique(scores)[::-1]:
        tied = scores == value
        shares[tied] = min(1.0, left / tied.sum())
        left -= tied.sum()
        if left <= 0:
            break
    return shares


def _expected_best(scores: F64, truth: F64, k: int) -> float:
    """Expected best quality among the first k when equal scores are put in random order."""
    k = min(k, len(scores))
    cut = np.sort(scores)[::-1][k - 1]
    sure = truth[scores > cut]
    floor = float(sure.max()) if len(sure) else -np.inf
    tied, places = np.sort(truth[scores == cut]), k - len(sure)
    # The i-th smallest of m tied ones is the best of `places` drawn with chance C(i - 1, places - 1) / C(m, places).
    m = len(tied)
    chance = comb(np.arange(m), places - 1) / comb(m, places)
    return float((chance * np.maximum(tied, floor)).sum())


def _weighted_tau(scores: F64, truth: F64) -> tuple[float, float]:
    value, p = stats.weightedtau(scores, truth)
    return float(value), float(p)


def _correlation(function: Callable[[F64, F64], tuple[float, float]], scores: F64, truth: F64) -> float:
    if np.ptp(scores) == 0 or np.ptp(truth) == 0:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = float(function(scores, truth)[0])
    return value if np.isfinite(value) else 0.0


def _below(scores: F64) -> float:
    known = scores[np.isfinite(scores)]
    return float(known.min()) - 1.0 if len(known) else 0.0


def interval_figures(low: F64, high: F64, values: F64, truth: F64) -> dict[str, float]:
    """Share of intervals that hold the truth, and their mean width: of all, of the winner, of the first five by value.

    Candidates without an interval (NaN) count in none of them; empty when nobody has one.
    """
    there = np.isfinite(low) & np.isfinite(high) & np.isfinite(values)
    if not there.any():
        return {}
    # A hair of slack: a truth of exactly 1 must not fall out of an interval that ends at 1 - 1e-17.
    held = (truth >= low - 1e-9) & (truth <= high + 1e-9)
    order = np.flatnonzero(there)[np.argsort(-values[there], kind="stable")]
    groups = {"all": order, "winner": order[:1], "top5": order[:5]}
    found: dict[str, float] = {}
    for name, rows in groups.items():
        found[f"coverage.{name}"] = float(held[rows].mean())
        found[f"width.{name}"] = float((high[rows] - low[rows]).mean())
    return found
