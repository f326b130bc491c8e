"""How wrong predictions were where the truth is known, as tables of quantiles that intervals are read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.metrics import ACCURACY, Metric

F64 = NDArray[np.float64]

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
LEAST_SCALE = 0.05
MEASURED_ON = 250  # samples of a pseudo-target
LEADERS = 5  # ranks that suffer from the winner's curse


@dataclass(frozen=True, slots=True)
class Calibration:
    """Three tables of quantiles at LEVELS, each of |predicted - true| over a scale.

    every: all candidates; leaders: ranks 1 to 5; the scale of both is .05 + spread of the opinions. pairs: differences between a leader
    and any other, whose scale is that of two errors that are shared where the two answer alike.
    targets, publishers: number of pseudo-targets and of publishers that they come from; 0 for the table that a catalog starts with.
    farthest: largest distance of a pseudo-target from its probes (`Vicinity.distance`). coverage: share of 90 % intervals
    that held for a publisher whose own pseudo-targets were left out: of "every", of "leaders", of the "winner".
    """

    every: tuple[float, ...]
    leaders: tuple[float, ...]
    pairs: tuple[float, ...]
    targets: int = 0
    publishers: int = 0
    farthest: float = np.inf
    coverage: Mapping[str, float] = field(default_factory=dict)
    metric: Metric = ACCURACY

    def __post_init__(self) -> None:
        if any(len(table) != len(LEVELS) or list(table) != sorted(table) for table in (self.every, self.leaders, self.pairs)):
            raise ValueError(f"tables must hold {len(LEVELS)} ascending quantiles")

    def quantile(self, table: Literal["every", "leaders", "pairs"], level: float) -> float:
        return float(np.interp(level, LEVELS, getattr(self, table)))

    @property
    def tail(self) -> float:
        """How many times as far out as for normal errors the last hundredth of differences lies, at least 1."""
        return max(1.0, (self.quantile("pairs", 0.98) / 2.326) / max(self.quantile("pairs", 0.9) / 1.645, 1e-9))

    def reach(self, scale: F64, order: F64, level: float) -> F64:
        """(M,) scales and predictions -> half-widths that hold at `level`, wider for the first five."""
        every, leaders = self.quantile("every", level), self.quantile("leaders", level)
        last = np.sort(order)[::-1][:LEADERS][-1] if len(order) else 0.0
        return np.asarray(scale * np.where(order >= last, max(every, leaders), every))

    def document(self) -> dict[str, Any]:
        """JSON-safe; `of_document` reads it back."""
        return {**asdict(self), "farthest": None if np.isinf(self.farthest) else self.farthest}

    @classmethod
    def of_document(cls, stored: Mapping[str, Any]) -> Calibration:
        metric = dict(stored["metric"])
        costs = metric["costs"]
        metric["costs"] = None if costs is None else tuple(tuple(row) for row in costs)
        tables = {name: tuple(stored[name]) for name in ("every", "leaders", "pairs")}
        farthest = np.inf if stored["farthest"] is None else stored["farthest"]
        return cls(**{**stored, **tables, "farthest": farthest, "metric": Metric(**metric)})


# What a catalog starts with, before it has publishers to be checked on: errors on 134 targets of 12 tasks whose domain none of their 48
# models had seen. Written by `./dev bench ranking --data FOLDER --seeds 100 --starting --out FILE`.
UNCALIBRATED = Calibration(
    every=(0.361, 0.437, 0.53, 0.663, 0.773, 0.917, 1.251, 1.77),
    leaders=(0.461, 0.56, 0.661, 0.792, 0.891, 1.116, 1.525, 2.139),
    pairs=(0.378, 0.477, 0.599, 0.769, 0.875, 1.034, 1.42, 1.975),
)
