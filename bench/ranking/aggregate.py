"""Figures of single episodes -> means over targets, then tasks; spread over seeds; paired intervals over target domains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 2_000


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one episode. figures: by name; a figure that a method does not have is absent."""

    task: str
    seed: int
    target: str
    mode: str
    kind: str
    n: int
    size: int
    method: str
    figures: Mapping[str, float]
    trap: str = ""


@dataclass(frozen=True, slots=True)
class Mean:
    """value: mean over seeds of the mean over tasks of the mean over episodes. spread: standard deviation over seeds. tasks: how many."""

    value: float
    spread: float
    tasks: int


def mean(rows: Iterable[Row], figure: str) -> Mean | None:
    """Every task counts alike, whatever its number of domains; None where no row has the figure."""
    cells: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if figure in row.figures:
            cells[row.seed][row.task].append(row.figures[figure])
    if not cells:
        return None
    seeds = [fmean(fmean(values) for values in tasks.values()) for tasks in cells.values()]
    return Mean(fmean(seeds), pstdev(seeds), len({task for tasks in cells.values() for task in tasks}))


def by(rows: Iterable[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Rows by what `key` says, in order of first sight."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def difference(rows: Sequence[Row], one: str, other: str, figure: str) -> tuple[float, float, float] | None:
    """Mean of one method's figure less another's on the same episodes, and its 95 % interval: domains are drawn again within each task."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    values: dict[tuple[Any, ...], dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row.method in (one, other) and figure in row.figures:
            values[row.task, row.target, row.seed, row.mode, row.kind, row.size][row.method] = row.figures[figure]
    for key, pair in values.items():
        if len(pair) == 2:
            found[key[0]][key[1]].append(pair[one] - pair[other])
    if not found:
        return None
    tasks = [np.array([fmean(parts) for parts in targets.values()]) for targets in found.values()]
    rng = np.random.default_rng(0)
    draws = np.mean([_resampled(task, rng) for task in tasks], axis=0)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(np.mean([task.mean() for task in tasks])), float(low), float(high)


def _resampled(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return np.asarray(values[rng.integers(0, len(values), (DRAWS, len(values)))].mean(1))
