"""What work costs on one device: milliseconds from closed-form amounts, with intervals, corrected by what was measured.

Per cost class a sparse polynomial with non-negative coefficients, chosen by forward-backward selection on relative errors
(SPORE-FoBa: Huang et al., "Predicting execution time of computer programs using sparse polynomial regression", NeurIPS 2010),
and a launch time below which no call goes. All terms are of the first degree, so that beyond what was measured a prediction
grows in proportion, as a roofline does; nor does it ever compute faster than the fastest call that was seen.
"""

from __future__ import annotations

import math
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
VERSION = 2
Z90 = 1.6449
"""Half the width of a 90 % interval, in standard deviations."""
_CACHE = float(1 << 18)  # elements of float32 in 1 MiB: about what one core holds close
_GAIN = 0.02  # a term must lower the squared error by this share
_MOST_TERMS = 6
_PRIOR = {"flops": 1e-7, "read": 5e-7, "written": 1e-6, "weights": 3e-7, "calls": 2e-3, "steps": 2e-2}
"""Milliseconds per amount where a class was never measured: a slow core."""


class Observation(NamedTuple):
    """One call that was timed. ms: milliseconds, the median of several runs."""

    entries: tuple[Entry, ...]
    ms: float


@dataclass(frozen=True, slots=True)
class Curve:
    """One cost class. launch: least milliseconds. terms: (names of the amounts multiplied, milliseconds). rate: most flops seen in a
    millisecond; 0 where the class has none. spread: standard deviation of log(actual / predicted)."""

    launch: float
    terms: tuple[tuple[tuple[str, ...], float], ...]
    rate: float
    spread: float

    def ms(self, names: Sequence[str], amounts: Sequence[float]) -> float:
        """Milliseconds of one call."""
        value = dict(zip(names, amounts, strict=True))
        total = sum(coefficient * _term(value, term) for term, coefficient in self.terms)
        return max(self.launch, total, value["flops"] / self.rate if self.rate else 0.0)


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

    corrections: key of a compiled piece > (mean of log(actual / predicted), how many runs it rests on).
    """

    device: str
    curves: dict[str, Curve] = field(default_factory=dict)
    corrections: dict[str, tuple[float, int]] = field(default_factory=dict)

    def ms(self, calls: Iterable[Sequence[Entry]]) -> tuple[float, float]:
        """(milliseconds, their variance) of calls one after the other, uncorrected."""
        total = variance = 0.0
        for entries in calls:
            for family, amounts, times in entries:
                curve = self.curves.get(family) or _prior(family)
                ms = times * curve.ms(AMOUNTS[family], amounts)
                total += ms
                variance += (ms * curve.spread) ** 2
        return total, variance

    def correction(self, key: str) -> tuple[float, int]:
        """(factor, number of runs behind it) for a compiled piece."""
        mean, count = self.corrections.get(key, (0.0, 0))
        return math.exp(mean), count

    def observe(self, key: str, predicted: float, actual: float) -> None:
        """A piece predicted (uncorrected) to take so long took so long. Later runs count for more; outliers are bent back."""
        if predicted <= 0 or actual <= 0:
            return
        mean, count = self.corrections.get(key, (0.0, 0))
        found = math.log(actual / predicted)
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
        return cls(document["device"], curves, {key: (float(m), int(n)) for key, (m, n) in document["corrections"].items()})


def fit(device: str, observations: Sequence[Observation]) -> CostModel:
    """Curves from timed calls. A call of several entries counts for its first; what the others take is subtracted."""
    model = CostModel(device)
    single: defaultdict[str, list[tuple[Sequence[float], float]]] = defaultdict(list)
    joint: list[Observation] = []
    for row in observations:
        if len(row.entries) == 1:
            family, amounts, times = row.entries[0]
            single[family].append((amounts, row.ms / times))
        elif row.entries:
            joint.append(row)
    for family, rows in single.items():
        model.curves[family] = _curve(AMOUNTS[family], rows)
    both: defaultdict[str, list[tuple[Sequence[float], float]]] = defaultdict(list)
    for entries, ms in joint:
        rest, _ = model.ms([entries[1:]])
        family, amounts, times = entries[0]
        both[family].append((amounts, max(ms - rest, 0.2 * ms) / times))
    for family, rows in both.items():
        model.curves[family] = _curve(AMOUNTS[family], single[family] + rows)
    return model


def _candidates(names: Sequence[str]) -> list[tuple[str, ...]]:
    far = [("far " + name,) for name in names if name in ("read", "written", "weights", "flops")]
    roots = [(f"root {name}", f"root {other}") for place, name in enumerate(names) for other in names[place + 1 :]]
    return [("one",), *((name,) for name in names), *far, *roots]


def _curve(names: Sequence[str], rows: Sequence[tuple[Sequence[float], float]]) -> Curve:
    """Forward: the term that helps most is added while it helps. Backward: one that has become superfluous goes again."""
    target = np.array([ms for _, ms in rows])
    values = [dict(zip(names, amounts, strict=True)) for amounts, _ in rows]
    terms = _candidates(names)
    columns = np.array([[_term(value, term) for term in terms] for value in values]) / target[:, None]
    scale = np.maximum(np.abs(columns).max(0), 1e-300)
    columns = columns / scale
    chosen, loss = [0], _loss(columns, [0])[0]
    while len(chosen) < min(_MOST_TERMS, len(terms), max(1, len(rows) // 2)):
        best, place = min((_loss(columns, [*chosen, place])[0], place) for place in range(len(terms)) if place not in chosen)
        if best > loss * (1 - _GAIN) - 1e-12:
            break
        gain, loss = loss - best, best
        chosen.append(place)
        for old in chosen[:-1]:
            without, _ = _loss(columns, [item for item in chosen if item != old])
            if without - loss < 0.5 * gain and len(chosen) > 1 and without <= loss * (1 + _GAIN / 2):
                chosen.remove(old)
                loss = without
    _, coefficients = _loss(columns, chosen)
    kept = [(terms[place], float(value / scale[place])) for place, value in zip(chosen, coefficients, strict=True) if value > 0]
    rate = max((value.get("flops", 0.0) / ms for value, ms in zip(values, target, strict=True)), default=0.0)
    curve = Curve(float(target.min()) * 0.9, tuple(kept), float(rate), 0.0)
    logs = np.log(np.array([max(curve.ms(names, amounts), 1e-9) for amounts, _ in rows]) / target)
    spread = float(np.sqrt(np.mean(logs**2))) * (1 + 2 / math.sqrt(len(rows)))
    return Curve(curve.launch, curve.terms, curve.rate, max(spread, 0.03))


def _loss(columns: Floats, chosen: Sequence[int]) -> tuple[float, Floats]:
    """Mean squared relative error of the best non-negative coefficients."""
    coefficients, residual = nnls(columns[:, list(chosen)], np.ones(len(columns)))
    return float(residual**2 / len(columns)), coefficients
