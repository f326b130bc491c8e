"""Speed of contenders in interleaved rounds, so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.engine.contenders import PEERS, UNMERGED, Engine, Run, Workload
from gpuworker.core.engine.clock import clock_of

FIRST = "first plan"
MOST_ROUNDS, LEAST_SECONDS = 60, 12.0
"""What takes little is run more often: as many rounds as fit into this time."""
FEW = 3
"""Rounds of a peer that no ratio is taken to."""


@dataclass
class Row:
    """One workload. ms: median of the rounds by contender. skipped: why a peer did not run. speedup: of the engine over the eager
    loop, median over pairs. best: over the fastest peer that merges nothing. first: the same of the plan that nothing was learned for."""

    workload: str
    samples: int
    ms: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    speedup: float = 0.0
    best: float = 0.0
    first: float = 0.0
    difference: float = 0.0
    widths: str = ""
    predicted_ms: float = 0.0

    def table(self) -> dict[str, Any]:
        """One line of the report."""
        shown: dict[str, Any] = {"workload": self.workload, "samples": self.samples}
        shown |= {f"{name} ms": self.ms.get(name) for name in ("engine", FIRST, *PEERS)}
        shown |= {"over eager": self.speedup, "over best unmerged": self.best, "first plan over best unmerged": self.first}
        shown |= {"largest difference": self.difference}
        shown |= {"widths": self.widths, "predicted ms": self.predicted_ms}
        return shown | {"skipped": "; ".join(f"{name}: {why}" for name, why in self.skipped.items())}


def compare(engine: Engine, workload: Workload, peers: Mapping[str, Callable[[Workload], Run]], rounds: int, seconds: float) -> Row:
    """Rounds of all contenders, each in another order, until there are enough of them or the time is over (at least two)."""
    row = Row(workload.name, workload.count)
    run, first, plan = engine.prepare(workload)
    row.predicted_ms = plan.predicted.ms
    merged = sorted({segment.width for part in plan.parts for segment in part.segments})
    row.widths = "+".join(map(str, merged))
    contenders: dict[str, Run] = {"engine": run, FIRST: first}
    for name, make in peers.items():
        try:
            contenders[name] = make(workload)
        except (RuntimeError, NotImplementedError) as error:
            row.skipped[name] = str(error).strip().split("\n")[0][:120]
    expected = contenders["eager"]()
    for one, other in zip(run(), expected, strict=True):
        scale = max(1.0, float(other.abs().max()))
        row.difference = max(row.difference, float((one.to(other.device) - other).abs().max()) / scale)
    clock, source = clock_of(engine.device), random.Random(1)  # noqa: S311 - an order of contenders
    times: dict[str, list[float]] = {name: [] for name in contenders}
    begun = time.perf_counter()

    def enough(done: int, spent: float) -> bool:
        return done >= 2 and (spent > seconds or done >= MOST_ROUNDS or (done >= rounds and spent > min(seconds, LEAST_SECONDS)))

    while not enough(len(times["engine"]), time.perf_counter() - begun):
        for name in source.sample(list(contenders), len(contenders)):
            if name not in (*UNMERGED, "engine", FIRST) and len(times[name]) == FEW:
                continue
            started = clock()
            contenders[name]()
            times[name].append(1000 * (clock() - started))
    row.ms = {name: statistics.median(found) for name, found in times.items()}
    row.speedup = statistics.median(eager / ours for eager, ours in zip(times["eager"], times["engine"], strict=True))
    unmerged = [times[name] for name in UNMERGED if name in times]

    def over(name: str) -> float:
        return min(statistics.median(peer / ours for peer, ours in zip(found, times[name], strict=True)) for found in unmerged)

    row.best, row.first = over("engine"), over(FIRST)
    return row
