"""Measuring how wrong predictions are: every publisher's probes in turn play the samples of a search, and the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.metrics import ACCURACY, Metric, observed
from gpuworker.core.probes import Vicinity
from gpuworker.core.probes.calibration import LEADERS, LEAST_SCALE, LEVELS, MEASURED_ON, UNCALIBRATED, Calibration
from gpuworker.core.protocols import CandidateView, ProbeView
from gpuworker.core.scorers.anchor import Judged, weigh, why_not
from gpuworker.core.scorers.answers import ballots
from gpuworker.core.scorers.intervals import LEVEL

F64 = NDArray[np.float64]
Rows = NDArray[np.int64]

LEAST_SAMPLES = 40
LEAST_MODELS = 3
HALVES = 3
STEPS = 50
STARTING_WEIGHT = 64.0  # pseudo-targets' worth of the table that a catalog starts with: of few publishers the next is poorly foretold


@dataclass(frozen=True, slots=True)
class PseudoTarget:
    """Probes that play the samples, those that stay probes, and the candidates that take part. publisher: whose probes play."""

    rows: Rows
    pool: Rows
    models: tuple[int, ...]
    publisher: int


@dataclass(frozen=True, slots=True)
class Errors:
    """Of one pseudo-target, each over its scale. publisher: whose probes played; below 0 a search that was confirmed.

    every: (M,), of all candidates in the order of their predictions, best first; pairs: (P,), of differences between a leader and
    any other. distance: `Vicinity.distance`.
    """

    publisher: int
    every: F64
    pairs: F64
    distance: float


def calibrate(probes: ProbeView, candidates: Sequence[CandidateView], metric: Metric = ACCURACY) -> Calibration:
    """The table for searches among these candidates; to be stored and made anew when probes or candidates change.

    Each publisher's probes play twice with that publisher removed altogether, its models too, and twice with half its probes kept;
    one of each two with other label shares. A single publisher's probes are split into random halves, which shows less than another
    publisher would: the table then is nowhere below the one that a catalog starts with. That one counts as 64 pseudo-targets otherwise.
    """
    return calibrations(probes, candidates, [metric])[0]


def calibrations(
    probes: ProbeView,
    candidates: Sequence[CandidateView],
    metrics: Sequence[Metric],
    *,
    confirmed: Sequence[Errors] = (),
    step: Callable[[], None] = lambda: None,
) -> list[Calibration]:
    """As `calibrate`, one table for each metric from the same pseudo-targets, at little more than the cost of one.

    confirmed: of searches whose samples were labelled afterwards, each of which counts as one more target of the table for accuracy.
    step: called before each pseudo-target; what it raises ends the measurement.
    """
    found: list[list[Errors]] = [list(confirmed) if metric == ACCURACY else [] for metric in metrics]
    for target in pseudo_targets(probes, candidates):
        step()
        for errors, own in zip(_errors(probes, candidates, target, metrics), found, strict=False):
            own.append(errors)
    publishers = len(np.unique(probes.publishers))
    return [_table_of(errors, publishers, metric) for errors, metric in zip(found, metrics, strict=True)]


def _table_of(found: Sequence[Errors], publishers: int, metric: Metric) -> Calibration:
    if not found:
        return replace(UNCALIBRATED, metric=metric)
    coverage = _coverage(found) if publishers > 1 else {}
    every, leaders, pairs = _tables(found)
    if publishers < 2:
        every, leaders, pairs = (np.maximum(mine, start) for mine, start in zip((every, leaders, pairs), _starting(), strict=True))
    farthest = max(errors.distance for errors in found)
    return Calibration(_told(every), _told(leaders), _told(pairs), len(found), publishers, farthest, coverage, metric)


def pseudo_targets(probes: ProbeView, candidates: Sequence[CandidateView]) -> Iterator[PseudoTarget]:
    """Deterministic. Publishers with fewer than 40 probes do not play, nor where fewer than 3 candidates or 50 probes would be left."""
    probed = [index for index, view in enumerate(candidates) if view.probe_log_probs is not None]
    n_labels = int(probes.labels.max()) + 1
    every = np.arange(len(probes.labels))
    names = np.unique(probes.publishers)
    for place, name in enumerate(names):
        own, others = every[probes.publishers == name], every[probes.publishers != name]
        apart = tuple(index for index in probed if int(name) not in candidates[index].publishers)
        for turn in range(2 if len(names) > 1 else 2 * HALVES):
            rng = np.random.default_rng((place, turn))
            shuffled = rng.permutation(own)
            if len(names) > 1:
                yield from _playable(_drawn(own, probes.labels, n_labels, rng, turn == 1), others, apart, int(name))
            half = _drawn(shuffled[: len(own) // 2], probes.labels, n_labels, rng, (turn + place) % 2 == 0)
            rest = np.concatenate([others, shuffled[len(own) // 2 :]])
            yield from _playable(half, rest, tuple(probed), int(name))


def _playable(rows: Rows, pool: Rows, models: tuple[int, ...], publisher: int) -> Iterator[PseudoTarget]:
    if len(rows) >= LEAST_SAMPLES and len(models) >= LEAST_MODELS:
        yield PseudoTarget(np.sort(rows), np.sort(pool), models, publisher)


def _drawn(rows: Rows, labels: NDArray[np.int64], n_labels: int, rng: np.random.Generator, shifted: bool) -> Rows:
    """At most 250 of the rows; shifted: at most half of them, with label shares from a Dirichlet draw."""
    if not shifted:
        return np.asarray(rng.permutation(rows)[:MEASURED_ON])
    shares = rng.dirichlet(np.full(n_labels, 0.5 if n_labels > 2 else 1.0))
    counts = np.bincount(labels[rows], minlength=n_labels)
    chance = shares[labels[rows]] / np.maximum(counts, 1)[labels[rows]] + 1e-9
    return np.asarray(rng.choice(rows, min(MEASURED_ON, len(rows) // 2), replace=False, p=chance / chance.sum()))


def _errors(probes: ProbeView, candidates: Sequence[CandidateView], target: PseudoTarget, metrics: Sequence[Metric]) -> list[Errors]:
    """By metric; empty where the probes left carry no prediction."""
    rest = ProbeView(probes.features[target.pool], probes.labels[target.pool], probes.publishers[target.pool])
    vicinity = Vicinity(probes.features[target.rows], rest)
    if why_not(vicinity):
        return []
    views = [
        CandidateView({}, np.asarray(table[target.rows], np.float32), table[target.pool])
        for index in target.models
        if (table := candidates[index].probe_log_probs) is not None
    ]
    found = ballots(views)
    if found is None:
        return []
    weighed, truth = weigh(vicinity, views, found), probes.labels[target.rows]
    return [
        errors_of(weighed.judged(metric), observed(metric, truth, found.votes, found.n_labels), target.publisher, vicinity.distance)
        for metric in metrics
    ]


def errors_of(judged: Judged, truth: F64, publisher: int, distance: float) -> Errors:
    """(M,) true qualities -> how far the predictions were off."""
    order = np.argsort(-judged.predicted, kind="stable")
    off = judged.predicted - truth
    shared = np.outer(judged.scale, judged.scale) * judged.pairs.agreement
    apart = np.sqrt(np.maximum(judged.scale[:, None] ** 2 + judged.scale**2 - 2 * shared, 0.0))
    first = order[:LEADERS]
    differ = apart[first] > 1e-6
    ratio = np.abs(off[first, None] - off)[differ] / apart[first][differ]
    return Errors(publisher, (np.abs(off) / judged.scale)[order], ratio, distance)


def confirmed_errors(search: int, predicted: F64, half: F64, measured: F64, error: F64, table: Calibration) -> Errors:
    """Of a search whose samples were labelled afterwards.

    predicted, half: (M,) predictions and half-widths of their 90 % intervals, which were made with `table`. measured, error: (M,)
    accuracy on the labelled samples and its standard error, whose share in what they seem to be off is taken out.
    """
    order = np.argsort(-predicted, kind="stable")
    scale = np.maximum(half / table.reach(np.ones(len(predicted)), predicted, LEVEL), LEAST_SCALE)
    off = np.sqrt(np.maximum((predicted - measured) ** 2 - error**2, 0.0))
    return Errors(-search, (off / scale)[order], np.zeros(0), 0.0)


def measured(found: Sequence[Errors], weights: Sequence[float]) -> tuple[F64, F64, F64]:
    """Quantiles at LEVELS of every, leaders and pairs over targets of these weights, nothing mixed in."""
    return tuple(_quantiles(part, weights) for part in _parts(found))  # type: ignore[return-value]


def _tables(found: Sequence[Errors]) -> tuple[F64, F64, F64]:
    """Quantiles at LEVELS over pseudo-targets that count alike, mixed with the starting table."""
    weights = [*np.ones(len(found)), STARTING_WEIGHT]
    steps = np.linspace(0.5 / STEPS, 1 - 0.5 / STEPS, STEPS)
    starts = [np.interp(steps, (0.0, *LEVELS), (0.0, *start)) for start in _starting()]
    return tuple(_quantiles([*part, start], weights) for part, start in zip(_parts(found), starts, strict=True))  # type: ignore[return-value]


def _parts(found: Sequence[Errors]) -> tuple[list[F64], list[F64], list[F64]]:
    return [e.every for e in found], [e.every[:LEADERS] for e in found], [e.pairs for e in found]


def _quantiles(parts: Sequence[F64], weights: Sequence[float]) -> F64:
    """Errors of each target and its weight -> quantiles at LEVELS of all of them."""
    values = np.concatenate(parts)
    each = np.concatenate([np.full(len(part), weight / max(1, len(part))) for part, weight in zip(parts, weights, strict=True)])
    order = np.argsort(values, kind="stable")
    below = np.cumsum(each[order]) / each.sum()
    return np.asarray(values[order][np.minimum(np.searchsorted(below, LEVELS), len(values) - 1)])


def _coverage(found: Sequence[Errors]) -> dict[str, float]:
    """Share of errors within the 90 % tables made without their publisher."""
    held: dict[str, list[float]] = {"every": [], "leaders": [], "winner": []}
    for publisher in {errors.publisher for errors in found}:
        others = [errors for errors in found if errors.publisher != publisher]
        if not others:
            continue
        every, leaders, _ = (float(np.interp(LEVEL, LEVELS, table)) for table in _tables(others))
        for errors in (errors for errors in found if errors.publisher == publisher):
            limit = np.where(np.arange(len(errors.every)) < LEADERS, max(every, leaders), every)
            within = errors.every <= limit
            held["every"].append(float(within.mean()))
            held["leaders"].append(float(within[:LEADERS].mean()))
            held["winner"].append(float(within[0]))
    return {name: round(float(np.mean(values)), 4) for name, values in held.items() if values}


def _starting() -> tuple[F64, F64, F64]:
    return np.array(UNCALIBRATED.every), np.array(UNCALIBRATED.leaders), np.array(UNCALIBRATED.pairs)


def _told(table: F64) -> tuple[float, ...]:
    return tuple(float(value) for value in np.round(table, 4))
