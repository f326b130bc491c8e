"""From a graph to a plan: who runs together, in which order, in chunks of how many samples, and what it will cost."""

from __future__ import annotations

import gc
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gpuworker.core.engine.code import Codes
from gpuworker.core.engine.cost import Z90, CostModel
from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.order import Sizes, Task, depth_first, peak_of, task
from gpuworker.core.engine.plan import Options, Part, Plan, Predicted
from gpuworker.core.engine.stages import Branch
from gpuworker.core.engine.widths import Choice, Widths
from gpuworker.core.errors import LimitExceeded

_MANY = 2_000
"""Branches beyond which only the largest chunk that fits is looked at."""
_CHUNKS = 3
"""Beyond so many, two siblings may be tried as one: the first run of a piece is no measure, and one more is too little."""
_BIAS = 0.08
"""What curves miss of all pieces alike, as a share."""


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection meanwhile. Graphs and plans of thousands of models are millions of small objects without cycles; looking
    through them again and again would take a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def plan(graph: Graph, branches: Sequence[Branch], cost: CostModel, codes: Codes, options: Options, samples: int, length: int = 0) -> Plan:
    """The cheapest plan found that fits. branches: of the graph. length: the open length of the inputs, 0 where there is none.

    Raises LimitExceeded when not even one sample at a time fits into the budget.
    """
    weights = 4 * graph.elements
    keep = min(weights, options.budget // 2)
    room = options.budget - keep
    groups = _siblings(branches)
    widths = Widths(graph, codes, cost, options, length, keep)
    best: Plan | None = None
    chunk = max(1, min(options.chunk, samples))
    tried = smallest = 0
    while chunk >= 1 and tried < (1 if len(branches) > _MANY or options.layout == "plain" else 3):
        found = _at(graph, groups, widths, cost, options, samples, length, chunk, keep)
        smallest = found.predicted.peak_bytes
        if smallest <= room:
            tried += 1
            if best is None or found.predicted.ms < best.predicted.ms * (1 - options.gain):
                best = found
            chunk = chunk // 4 if tried else chunk // 2
        else:
            chunk //= 2
    if best is None:
        raise LimitExceeded(
            "The search does not fit into memory.",
            detail=f"One sample at a time takes {_mib(smallest)} beside {_mib(keep)} of weights; {_mib(options.budget)} are allowed.",
            fix="Leave out the largest models, or allow the worker more memory.",
        )
    return best


def interval(ms: float, variance: float) -> tuple[float, float]:
    """(low, high) milliseconds of the 90 % interval, what curves miss of all pieces alike included."""
    high = ms + Z90 * math.hypot(math.sqrt(variance), _BIAS * ms)
    return ms * ms / high if high else 0.0, high


def graph_key(graph: Graph) -> str:
    """Equal for graphs to which the same plan applies."""
    digest = hashlib.blake2b(digest_size=16)
    for outputs in graph.outputs:
        digest.update(repr(outputs).encode())
    digest.update(f"{len(graph.nodes)}:{len(graph.weights)}:{sorted(graph.feeds.items())}".encode())
    return digest.hexdigest()


def _siblings(branches: Sequence[Branch]) -> list[list[Branch]]:
    """Branches that may run as one: of one form, reading the same values. In the order of their first."""
    found: defaultdict[tuple[int, tuple[int, ...]], list[Branch]] = defaultdict(list)
    for branch in branches:
        found[branch.form.number, branch.inputs].append(branch)
    return list(found.values())


def _at(
    graph: Graph,
    groups: Sequence[Sequence[Branch]],
    widths: Widths,
    cost: CostModel,
    options: Options,
    samples: int,
    length: int,
    chunk: int,
    keep: int,
) -> Plan:
    """The plan for one chunk size."""
    tasks: list[tuple[Task, Choice, float]] = []
    for group in groups:
        choice, begin = widths.choice(group, chunk), 0
        tried = widths.pair(group, chunk) if samples > _CHUNKS * chunk else None
        if tried is not None:
            tasks.append((task(group[:2], tried.peak), tried, tried.ms))
            begin = 2
        for first in range(begin, len(group), choice.size):
            own = group[first : first + choice.size]
            whole = choice if len(own) == choice.size else widths.choice(own, chunk)
            size = max(1, whole.size)
            for start in range(0, len(own), size):
                part = own[start : start + size]
                tasks.append((task(part, whole.peak), whole, whole.ms * len(part) / size))
    tasks.sort(key=lambda item: item[0].branches[0].number)
    sizes = Sizes(graph, chunk, length)
    only = [item for item, _, _ in tasks]
    order = depth_first(only, sizes)
    peak = peak_of(only, order, sizes)
    rounds = samples / chunk
    parts = tuple(
        Part(tuple(branch.number for branch in only[number].branches), tasks[number][1].segments, tasks[number][2], tasks[number][1].peak)
        for number in order
    )
    ms = rounds * sum(part.ms for part in parts)
    low, high = interval(ms, sum(choice.variance for _, choice, _ in tasks) * rounds**2)
    alone, share, loop_ms, unique_ms = _candidates(graph, only, [part for _, _, part in tasks], widths, chunk)
    predicted = Predicted(
        ms,
        low,
        high,
        rounds * loop_ms,
        max(0.0, 1 - unique_ms / loop_ms) if loop_ms else 0.0,
        peak,
        min(keep, sum(choice.weights for _, choice, _ in tasks)),
        max((choice.piece_ms for _, choice, _ in tasks), default=0.0),
    )
    return Plan(
        graph_key(graph),
        options.device,
        options.layout,
        samples,
        chunk,
        length,
        keep,
        parts,
        predicted,
        tuple(zip((rounds * item for item in alone), (rounds * item for item in share), strict=True)),
    )


def _candidates(
    graph: Graph, tasks: Sequence[Task], planned: Sequence[float], widths: Widths, chunk: int
) -> tuple[list[float], list[float], float, float]:
    """Per model: ms of one chunk alone, and its share of the plan. Then the sum of the first, and equal work counted once."""
    alone, share = [0.0] * len(graph.models), [0.0] * len(graph.models)
    unique = 0.0
    for item, ms in zip(tasks, planned, strict=True):
        single = widths.single_ms(item.branches[0].form, chunk)
        unique += single * len(item.branches)
        for branch in item.branches:
            part = ms / len(item.branches) / len(branch.members)
            for member in branch.members:
                alone[member] += single
                share[member] += part
    return alone, share, sum(alone), unique


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
