"""How well the cost model predicts networks it has not seen, in time and memory, and what a wrong prediction costs a plan."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from torch import nn
from torch.profiler import ProfilerActivity, profile

from bench.engine.contenders import TEMPLATES
from bench.engine.networks import Network, Perceptron, Recurrent, ResNet, Transformer, family
from bench.engine.workloads import ALL
from gpuworker.core.engine.calibrate import SECONDS, invented, runs, siblings, sweep, timed
from gpuworker.core.engine.clock import Pace, clock_of, steady
from gpuworker.core.engine.code import Code, Codes, Sizes
from gpuworker.core.engine.cost import Observation, fit
from gpuworker.core.engine.estimate import peak_bytes, touched, work
from gpuworker.core.engine.execute import Group, Segment, Values
from gpuworker.core.engine.kernels import Target
from gpuworker.core.engine.prepare import Prepared
from gpuworker.core.engine.stages import branches
from gpuworker.core.engine.templates import RESULTS

HELD_OUT, SWEPT_AS = "perceptron", "mlp"
"""The family that no fit sees: its name in the grid, and in the sweep."""
SHARE = 0.1
ROUNDS = 3
"""Every cell is measured so often, minutes apart: a machine's speed goes up and down by more than the model errs."""
WIDTHS = (1, 4, 8)
FAMILIES: Mapping[str, list[tuple[Callable[[], nn.Module], tuple[int, ...]]]] = {
    "perceptron": [(partial(Perceptron, width, layers), (64,)) for width in (64, 256, 512) for layers in (2, 4)],
    "resnet": [(partial(ResNet, blocks, width), (3, side, side)) for blocks, width, side in ((1, 8, 32), (1, 16, 24), (2, 16, 32))],
    "transformer": [(partial(Transformer, width, 4, layers, 16), (16, 64)) for width in (64, 128) for layers in (1, 2, 3)],
    "recurrent": [(partial(Recurrent, width), (steps, 64)) for width in (32, 64) for steps in (16, 32)],
}


@dataclass(frozen=True, slots=True)
class Point:
    """One cell of the grid: a network, so many samples, so many siblings as one."""

    family: str
    network: Network
    samples: int
    width: int


@dataclass(slots=True)
class Cell:
    """What was measured. rounds: milliseconds of one run and the pace of the machine (`clock.Pace`), in each round. peak: bytes given
    out beyond inputs and weights; 0 where they cannot be counted."""

    point: Point
    code: Code
    peak: int
    rounds: list[tuple[float, float]] = field(default_factory=list)

    @property
    def raw(self) -> float:
        """Milliseconds, whatever the pace."""
        return statistics.median(ms for ms, _ in self.rounds)

    def at(self, pace: float) -> list[float]:
        """Milliseconds in each round, had the machine had this pace."""
        return [ms * pace / meanwhile for ms, meanwhile in self.rounds]


def grid(quick: bool) -> list[Point]:
    """Families by sizes by samples by widths. quick: two sizes of each family."""
    points = []
    for name, rows in FAMILIES.items():
        for make, shape in rows[:2] if quick else rows:
            (network,) = family(make, shape, [ALL])
            points += [Point(name, network, samples, width) for samples in (1, 8, 64) for width in WIDTHS]
    return points


def measure(point: Point, target: Target, cell: Cell | None = None) -> Cell:
    """Run one cell, warm. cell: what earlier rounds found."""
    graph = siblings(TEMPLATES.model(point.network.program, "folded"), point.width)
    shapes = {key: (w.dtype, w.shape) for m in graph.models for key, w in zip(m.weights, m.program.weights, strict=True)}
    prepared = Prepared(graph, lambda key: invented(*shapes[key]), target.device, 1 << 30)
    (item,) = point.network.program.inputs
    x = invented(item.dtype, (point.samples, *(size or 1 for size in item.shape[1:]))).to(target.device)
    own = branches(graph)
    group = Group(prepared, Codes(), target, Sizes(point.samples, 0), own, [Segment(0, own[0].form.stages, point.width)])

    def run() -> Code:
        values: Values = {graph.feeds["x"] * RESULTS: x}
        (bound,) = group.run(values, frozenset())
        return bound.code

    clock, pace = clock_of(target.device), Pace(target.device)
    times: list[float] = []
    paces: list[float] = []
    for _ in runs(clock):
        paces.append(pace.now())
        started = clock()
        code = run()
        times.append(clock() - started)
    found = cell or Cell(point, code, allocated(run) if target.device == "cpu" else 0)
    seconds, meanwhile = steady(times[1:], paces[1:])
    found.rounds.append((1000 * seconds, meanwhile))
    return found


def allocated(run: Callable[[], object]) -> int:
    """Most bytes the allocator had given out at once during the call."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    alive = most = 0
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        most = max(most, alive)
    return most


def tenth(points: list[Point]) -> set[int]:
    """Places of a random tenth (at least three) of the cells of each family but one."""
    source = random.Random(5)  # noqa: S311 - a sample of cells
    chosen: set[int] = set()
    for name in FAMILIES:
        here = [place for place, point in enumerate(points) if point.family == name]
        if name != HELD_OUT:
            chosen |= set(source.sample(here, max(3, round(SHARE * len(here)))))
    return chosen


def observed(points: list[Point], target: Target) -> tuple[list[Observation], list[Observation], list[Cell]]:
    """The calls of a tenth of the cells and those of a sweep, timed, and the other cells, measured.

    All three go on side by side, in a random order of networks and samples, a new one in every round; the widths of one network
    follow each other, since they are compared.
    """
    chosen, sweeping = tenth(points), sweep(target, seconds=math.inf, without=SWEPT_AS)
    rows: list[Observation] = []
    swept: list[Observation] = []
    cells: dict[int, Cell] = {}
    groups = [range(place, place + len(WIDTHS)) for place in range(0, len(points), len(WIDTHS))]
    source = random.Random(6)  # noqa: S311 - an order of cells
    for _ in range(ROUNDS):
        for group in source.sample(groups, len(groups)):
            until = time.perf_counter() + SECONDS / len(groups) / ROUNDS
            while time.perf_counter() < until:
                swept.append(next(sweeping))
            for place in group:
                point = points[place]
                if place in chosen:
                    graph = siblings(TEMPLATES.model(point.network.program, "folded"), point.width)
                    rows += timed(graph, target, point.samples, point.width)
                else:
                    cells[place] = measure(point, target, cells.get(place))
    return rows, swept, [cells[place] for place in sorted(cells)]


def cost_figures(target: Target, quick: bool) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Figures, and a table by family. A worker sweeps before it predicts anything: that sweep, without the held-out family, and a tenth
    of the grid are fitted; `cost.tenth_alone.*` is what the tenth gives without it."""
    points = grid(quick)
    rows, swept, cells = observed(points, target)
    alone, model = fit(target.device, rows), fit(target.device, [*swept, *rows])
    done = [work(cell.code, cell.point.samples, 0) for cell in cells]
    predicted, bare = (np.array([each.ms(calls, touched(calls))[0] for calls in done]) for each in (model, alone))
    rounds = [cell.at(model.pace) for cell in cells]
    actual = np.array([statistics.median(found) for found in rounds])
    raw = np.array([cell.raw for cell in cells])
    error = np.abs(predicted - actual) / actual
    peaks = np.array([peak_bytes(cell.code, cell.point.samples, 0) for cell in cells], float)
    given = np.array([cell.peak for cell in cells], float)
    large = given > 1 << 20  # below a MiB it is the allocator's rounding that is measured
    off = (peaks[large] - given[large]) / given[large]
    figures = {
        "cost.rank_corr": float(spearmanr(predicted, actual).statistic),
        "cost.mean_error": float(error.mean()),
        "cost.measured_again": statistics.fmean(abs(found[-1] / found[0] - 1) for found in rounds),
        "cost.whatever_pace.mean_error": float((np.abs(predicted - raw) / raw).mean()),
        "cost.whatever_pace.measured_again": statistics.fmean(abs(cell.rounds[-1][0] / cell.rounds[0][0] - 1) for cell in cells),
        "cost.tenth_alone.rank_corr": float(spearmanr(bare, actual).statistic),
        "cost.tenth_alone.mean_error": float((np.abs(bare - actual) / actual).mean()),
        "cost.memory_error": float(np.abs(off).mean()) if large.any() else 0.0,
        "cost.memory_worst_under": float(max(0.0, -off.min())) if large.any() else 0.0,
        "cost.plan_regret": _regret(cells, predicted, actual),
    }
    table = []
    for name in FAMILIES:
        here = np.array([cell.point.family == name for cell in cells])
        if here.any():
            table.append(
                {
                    "family": f"{name} (held out)" if name == HELD_OUT else name,
                    "cells": int(here.sum()),
                    "mean error of time": float(error[here].mean()),
                    "worst": float(error[here].max()),
                    "rank correlation": float(spearmanr(predicted[here], actual[here]).statistic),
                }
            )
    return figures, table


def _regret(cells: list[Cell], predicted: np.ndarray, actual: np.ndarray) -> float:
    """By how much the width predicted best is slower, per model, than the best one; mean over networks and samples."""
    grouped: dict[tuple[int, int], list[int]] = {}
    for place, cell in enumerate(cells):
        grouped.setdefault((id(cell.point.network), cell.point.samples), []).append(place)
    lost = []
    for places in grouped.values():
        if len(places) > 1:
            widths = np.array([cells[place].point.width for place in places])
            chosen = int(np.argmin(predicted[places] / widths))
            per_model = actual[places] / widths
            lost.append(float(per_model[chosen] / per_model.min() - 1))
    return statistics.fmean(lost) if lost else 0.0
