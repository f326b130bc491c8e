"""What work costs on one device: milliseconds from closed-form amounts, with intervals, corrected by what was measured.

Per cost class a sparse polynomial with non-negative coefficients, chosen by forward-backward selection on relative errors
(SPORE-FoBa: Huang et al., "Predicting execution time of computer programs using sparse polynomial regression", NeurIPS 2010),
and a launch time below which no call goes. All terms are of the first degree, so that beyond what was measured a prediction
grows in proportion, as a roofline does; nor does it ever compute faster than the fastest call that was seen.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from gpuworker.core.engine.estimate import Entry
from gpuworker.core.engine.work import AMOUNTS

Floats = NDArray[np.float64]
VERSION = 5
Z90 = 1.6449
"""Half the width of a 90 % interval, in standard deviations."""
_CACHE = float(1 << 18)  # elements of float32 in 1 MiB: about what one core holds close
_MOST_AROUND = 8 * _CACHE  # beyond it nothing is left in a cache that others use as well
_GAIN = 0.02  # a term must lower the squared error by this share
_MOST_TERMS = 6
_ROUNDS, _NEAR = 4, 0.3  # a row that is further off than this (in logarithms) counts for less in the next round
_PRIOR = {"flops": 1e-7, "read": 5e-7, "written": 1e-6, "weights": 3e-7, "calls": 2e-3, "steps": 2e-2}
"""Milliseconds per amount where a class was never measured: a slow core."""


class Observation(NamedTuple):
    """One call that was timed. ms: milliseconds, the median of several runs. pace: seconds that the reference took meanwhile.
    around: elements touched between two runs of it."""

    entries: tuple[Entry, ...]
    ms: float
    pace: float = 1.0
    around: float = 0.0


@dataclass(frozen=True, slots=True)
class Curve:
    """One cost class. launch: least milliseconds. terms: (names of the amounts multiplied, milliseconds). rate: most flops seen in a
    millisecond; 0 where the class has none. spread: standard deviation of log(actual / predicted)."""

    launch: float
    terms: tuple[tuple[tuple[str, ...], float], ...]
    rate: float
    spread: float

    def ms(self, names: Sequence[str], amounts: Sequence[float], around: float) -> float:
        """Milliseconds of one call."""
        value = _named(names, amounts, around)
        total = sum(coefficient * _term(value, term) for term, coefficient in self.terms)
        return max(self.launch, total, value["flops"] / self.rate if self.rate else 0.0)


def _named(names: Sequence[str], amounts: Sequence[float], around: float) -> dict[str, float]:
    value = dict(zip(names, amounts, strict=True))
    value["around"] = min(around, _MOST_AROUND)
    return value


def _term(value: Mapping[str, float], term: Sequence[str]) -> float:
    """The product of amounts; "far x" is what lies beyond the cache, "root x" the square root."""
    result = 1.0
    for name in term:
        if name.startswith("far "):
            result *= max(0.0, value[name[4:]] - _CACHE)
        elif name.startswith("root "):
            result *= math.sqrt(value[name[5:]])
        elif name != "one":
            result *= value[name]
    return result


@cache
def _prior(family: str) -> Curve:
    terms = tuple(((name,), _PRIOR.get(name, 1e-6)) for name in AMOUNTS[family])
    return Curve(2e-3, terms, 0.0, 1.0)


@dataclass(slots=True)
class CostModel:
    """Curves of one device and layout, and corrections by what real runs took.

    pace: seconds of the reference (`clock.Pace`) at the speed all milliseconds are meant for; 0 when
    nothing was timed. corrections: key of a compiled piece > (mean of log(actual / predicted), how many runs it rests on).
    """

    device: str
    curves: dict[str, Curve] = field(default_factory=dict)
    corrections: dict[str, tuple[float, int]] = field(default_factory=dict)
    pace: float = 0.0

    def ms(self, calls: Iterable[Sequence[Entry]], around: float) -> tuple[float, float]:
        """(milliseconds, their variance) of calls one after the other, uncorrected. around: elements touched (`estimate.touched`)
        between two runs, by these calls and by others: what is still in a cache is sooner at hand."""
        total = variance = 0.0
        for entries in calls:
            for family, amounts, times in entries:
                curve = self.curves.get(family) or _prior(family)
                ms = times * curve.ms(AMOUNTS[family], amounts, around)
                total += ms
                variance += (ms * curve.spread) ** 2
        return total, variance

    def correction(self, key: str) -> tuple[float, int]:
        """(factor, number of runs behind it) for a compiled piece."""
        mean, count = self.corrections.get(key, (0.0, 0))
        return math.exp(mean), count

    def observe(self, key: str, predicted: float, actual: float, pace: float = 0.0) -> None:
        """A piece predicted (uncorrected) to take so long took so long, while the reference took `pace` (0: not known). Later runs
        count for more; outliers are bent back."""
        if predicted <= 0 or actual <= 0:
            return
        mean, count = self.corrections.get(key, (0.0, 0))
        found = math.log(actual / predicted) + (math.log(self.pace / pace) if self.pace and pace else 0.0)
        if count >= 3:
            found = min(max(found, mean - 0.3), mean + 0.3)
        share = max(1 / (count + 1), 0.1)
        self.corrections[key] = (mean + share * (found - mean), min(count + 1, 1000))

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "device": self.device,
            "curves": {
                family: {"launch": c.launch, "terms": [[list(t), v] for t, v in c.terms], "rate": c.rate, "spread": c.spread}
                for family, c in self.curves.items()
            },
            "corrections": {key: list(value) for key, value in self.corrections.items()},
            "pace": self.pace,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CostModel:
        """Read what `to_json` wrote. Raises ValueError for another version or classes that are not known."""
        if document.get("version") != VERSION or not set(document["curves"]) <= set(AMOUNTS):
            raise ValueError("a cost model of another version")
        curves = {
            family: Curve(c["launch"], tuple((tuple(t), float(v)) for t, v in c["terms"]), float(c["rate"]), c["spread"])
            for family, c in document["curves"].items()
        }
        corrections = {key: (float(m), int(n)) for key, (m, n) in document["corrections"].items()}
        return cls(document["device"], curves, corrections, float(document["pace"]))


class _Row(NamedTuple):
    """One observation of one class."""

    amounts: Sequence[float]
    around: float
    ms: float


def fit(device: str, observations: Sequence[Observation]) -> CostModel:
    """Curves from timed calls, at their median pace. A call of several entries counts for its first; what the others take is subtracted."""
    model = CostModel(device, pace=statistics.median([row.pace for row in observations] or [0.0]))
    single: defaultdict[str, list[_Row]] = defaultdict(list)
    joint: list[Observation] = []
    for found in observations:
        row = found._replace(ms=found.ms * model.pace / found.pace)
        if len(row.entries) == 1:
            family, amounts, times = row.entries[0]
            single[family].append(_Row(amounts, row.around, row.ms / times))
        elif row.entries:
            joint.append(row)
    for family, rows in single.items():
        model.curves[family] = _curve(AMOUNTS[family], rows)
    both: defaultdict[str, list[_Row]] = defaultdict(list)
    for entries, ms, _, around in joint:
        rest, _ = model.ms([entries[1:]], around)
        family, amounts, times = entries[0]
        both[family].append(_Row(amounts, around, max(ms - rest, 0.2 * ms) / times))
    for family, rows in both.items():
        model.curves[family] = _curve(AMOUNTS[family], single[family] + rows)
    return model


def _candidates(names: Sequence[str]) -> list[tuple[str, ...]]:
    names = [*names, "around"]
    far = [("far " + name,) for name in names if name in ("read", "written", "weights", "flops")]
    roots = [(f"root {name}", f"root {other}") for place, name in enumerate(names) for other in names[place + 1 :]]
    return [("one",), *((name,) for name in names), *far, *roots]


def _curve(names: Sequence[str], rows: Sequence[_Row]) -> Curve:
    """Terms that explain most rows well: those that a first curve is far off count for less in the next (Huber's weights)."""
    target = np.array([row.ms for row in rows])
    values = [_named(names, row.amounts, row.around) for row in rows]
    terms = _candidates(names)
    columns = np.array([[_term(value, term) for term in terms] for value in values]) / target[:, None]
    scale = np.maximum(np.abs(columns).max(0), 1e-300)
    columns = columns / scale
    rate = max((value.get("flops", 0.0) / ms for value, ms in zip(values, target, strict=True)), default=0.0)
    weights = np.ones(len(rows))
    for _ in range(_ROUNDS):
        chosen = _chosen(columns, weights)
        _, coefficients = _loss(columns, chosen, weights)
        kept = [(terms[place], float(value / scale[place])) for place, value in zip(chosen, coefficients, strict=True) if value > 0]
        curve = Curve(float(target.min()) * 0.9, tuple(kept), float(rate), 0.0)
        logs = np.log(np.array([max(curve.ms(names, row.amounts, row.around), 1e-9) for row in rows]) / target)
        weights = np.sqrt(np.minimum(1.0, _NEAR / np.maximum(np.abs(logs), 1e-9)))
    spread = float(np.sqrt(np.mean(logs**2))) * (1 + 2 / math.sqrt(len(rows)))
    return Curve(curve.launch, curve.terms, curve.rate, max(spread, 0.03))


def _chosen(columns: Floats, weights: Floats) -> list[int]:
    """Forward: the term that helps most is added while it helps. Backward: one that has become superfluous goes again."""
    count = columns.shape[1]
    chosen, loss = [0], _loss(columns, [0], weights)[0]
    while len(chosen) < min(_MOST_TERMS, count, max(1, len(columns) // 2)):
        best, place = min((_loss(columns, [*chosen, place], weights)[0], place) for place in range(count) if place not in chosen)
        if best > loss * (1 - _GAIN) - 1e-12:
            break
        gain, loss = loss - best, best
        chosen.append(place)
        for old in chosen[:-1]:
            without, _ = _loss(columns, [item for item in chosen if item != old], weights)
            if without - loss < 0.5 * gain and len(chosen) > 1 and without <= loss * (1 + _GAIN / 2):
                chosen.remove(old)
                loss = without
    return chosen


def _loss(columns: Floats, chosen: Sequence[int], weights: Floats) -> tuple[float, Floats]:
    """Mean squared relative error, weighted, of the best non-negative coefficients."""
    coefficients, residual = nnls(columns[:, list(chosen)] * weights[:, None], weights)
    return float(residual**2 / len(columns)), coefficients
