"""Every way of ranking that the product has, through the product's own functions, and the rows that frame them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.ranking.episodes import Episode
from gpuworker.core import specs
from gpuworker.core.metrics import ACCURACY, Metric
from gpuworker.core.probes import settle
from gpuworker.core.probes.calibration import UNCALIBRATED, Calibration
from gpuworker.core.protocols import Estimate, TargetView
from gpuworker.core.ranking import board, prior
from gpuworker.core.scorers import FUNCTIONS
from gpuworker.core.scorers.adaptivity_pairs import adaptivity, group_distances

F64 = NDArray[np.float64]

BOARD, PRIOR, BOARD_F1 = "board", "prior", "board_f1"
RANDOM, TRUTH, LABELS, ADAPTIVITY = "random", "truth", "labels_100", "adaptivity_tuned"
FRAMES = (RANDOM, TRUTH, LABELS, ADAPTIVITY)
LABELLED = 100
THETA_QUANTILES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """One method on one episode. scores: (M,), higher is better, NaN for a candidate that got none. values, low, high: (M,) predicted
    quality and its interval, NaN where there is none; empty for methods that only order. told: share of candidates with an answer.
    """

    scores: F64
    told: float
    milliseconds: float
    forward: bool
    values: F64 = field(default_factory=lambda: np.zeros(0))
    low: F64 = field(default_factory=lambda: np.zeros(0))
    high: F64 = field(default_factory=lambda: np.zeros(0))


def rankings(episode: Episode, keys: Sequence[str] | None = None, calibration: Calibration = UNCALIBRATED) -> dict[str, Ranking]:
    """All methods, or those named. The truth is looked at only for the rows that frame the others (FRAMES).

    calibration: of this catalog, for the intervals of the board. board_f1 orders by expected F1 of a match, where that is judged.
    """
    wanted = set(method_names() if keys is None else keys)
    target = settle(episode.target)
    found = {key: _scorer(key, target, episode) for key in FUNCTIONS if key in wanted}
    if PRIOR in wanted:
        found[PRIOR] = _prior(target, episode)
    if BOARD in wanted:
        found[BOARD] = _board(target, episode, calibration)
    if BOARD_F1 in wanted and episode.f1 is not None:
        found[BOARD_F1] = _board(target, episode, UNCALIBRATED, Metric("f1", label=1))
    return found | {key: ranking for key, ranking in _frames(episode).items() if key in wanted}


def method_names() -> list[str]:
    return [*FUNCTIONS, PRIOR, BOARD, BOARD_F1, *FRAMES]


def _scorer(key: str, target: TargetView, episode: Episode) -> Ranking:
    started = time.perf_counter()
    estimates = FUNCTIONS[key](target, episode.candidates)
    return from_estimates(key, estimates, (time.perf_counter() - started) * 1000)


def from_estimates(key: str, estimates: Sequence[Estimate], milliseconds: float) -> Ranking:
    """Where a scorer cannot tell, its raw score ranks all the same: the bench asks what it would have said."""
    spec = specs.SCORERS[key]
    raw = np.array([_number(e.value if e.value is not None else e.diagnostic) for e in estimates])
    told = float(np.mean([e.value is not None for e in estimates]))
    scores = -raw if spec.direction == "lower" else raw
    if spec.scale != "accuracy":
        return Ranking(scores, told, milliseconds, spec.cost == "forward")
    low, high = (np.array([_number(getattr(e, side)) for e in estimates]) for side in ("low", "high"))
    return Ranking(scores, told, milliseconds, spec.cost == "forward", raw, low, high)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _prior(target: TargetView, episode: Episode) -> Ranking:
    started = time.perf_counter()
    places = prior(target, episode.candidates)
    spent = (time.perf_counter() - started) * 1000
    told = float(np.mean([place.score is not None for place in places]))
    return Ranking(np.array([-float(place.position) for place in places]), told, spent, False)


def _board(target: TargetView, episode: Episode, calibration: Calibration, metric: Metric = ACCURACY) -> Ranking:
    """The order that a person sees, with the intervals beside it."""
    started = time.perf_counter()
    found = board(target, episode.candidates, calibration=calibration, metric=metric)
    spent = (time.perf_counter() - started) * 1000
    scores = np.empty(len(found.rows))
    scores[list(found.order)] = -np.arange(len(found.rows), dtype=np.float64)
    values, low, high = (np.array([_number(getattr(row, name)) for row in found.rows]) for name in ("predicted", "low", "high"))
    return Ranking(scores, float(np.isfinite(values).mean()), spent, True, values, low, high)


def _frames(episode: Episode) -> dict[str, Ranking]:
    """What no method may fall below or can exceed, and the seed paper's measure with its threshold tuned on the truth."""
    m = len(episode.truth)
    rng = np.random.default_rng(m * 1_000 + episode.about.n)
    picked = rng.permutation(len(episode.answers))[:LABELLED]
    votes = np.stack([view.log_probs.argmax(1) for view in episode.candidates if view.log_probs is not None])
    labelled = (votes[:, picked] == episode.answers[picked]).mean(1)
    return {
        RANDOM: Ranking(np.zeros(m), 1.0, 0.0, False),
        TRUTH: Ranking(episode.truth, 1.0, 0.0, False, episode.truth),
        LABELS: Ranking(labelled, 1.0, 0.0, True, labelled),
        ADAPTIVITY: Ranking(adaptivity_tuned(episode), 1.0, 0.0, False),
    }


def adaptivity_tuned(episode: Episode) -> F64:
    """Adaptivity at the threshold whose values correlate best with the truth: no method without labels can know it."""
    pairs = [group_distances(view.signature, episode.target.signature) for view in episode.candidates]
    known = [table for table in pairs if table is not None]
    if len(known) < len(pairs):
        return np.zeros(len(pairs))
    best, chosen = -2.0, np.zeros(len(pairs))
    for theta in np.quantile(np.concatenate([table.ravel() for table in known]), THETA_QUANTILES):
        scores = np.array([adaptivity(table, float(theta)) for table in known])
        fit = float(np.corrcoef(scores, episode.truth)[0, 1]) if np.ptp(scores) and np.ptp(episode.truth) else -1.0
        if fit > best:
            best, chosen = fit, scores
    return chosen
