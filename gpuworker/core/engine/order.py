"""The order of parts, and the memory it takes: depth-first, so that few results wait for those who read them.

A part is taken up when the last of those it reads from has run. Among children of one part those that need little memory go
first and the neediest last: the parent's result is gone by then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.probe import evaluate
from gpuworker.core.engine.stages import Branch
from gpuworker.core.engine.templates import RESULTS

SLACK = 1 << 16
"""Bytes for what is too small to be counted: statistics of normalisations, padding of packed tensors, sizes."""


@dataclass(frozen=True, slots=True)
class Task:
    """A part to be ordered. inputs, outputs: values read from outside, and values handed on. peak: bytes inside it."""

    branches: tuple[Branch, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    peak: int


class Sizes:
    """Bytes of values at a number of samples; equal facts are worked out once."""

    def __init__(self, graph: Graph, samples: int, length: int) -> None:
        self._graph, self._samples, self._length = graph, samples, length
        self._known: dict[tuple[int, int], int] = {}

    def of(self, value: int) -> int:
        """Of one value; sizes and unknown results take nothing."""
        node = self._graph.nodes[value // RESULTS]
        key = node.class_number, value % RESULTS
        if key not in self._known:
            facts = node.step.facts[value % RESULTS]
            self._known[key] = 0 if facts.size else facts.item * max(0, round(evaluate(facts.elements, self._samples, self._length)))
        return self._known[key]


def task(branches: Sequence[Branch], peak: int) -> Task:
    outputs = tuple(branch.value(place) for branch in branches for place in branch.form.outputs)
    return Task(tuple(branches), tuple(dict.fromkeys(branches[0].inputs)), outputs, peak)


def depth_first(tasks: Sequence[Task], sizes: Sizes) -> list[int]:
    """Numbers of tasks in the order they run. tasks: each after those it reads from."""
    maker = {value: number for number, item in enumerate(tasks) for value in item.outputs}
    parents = [list(dict.fromkeys(maker[value] for value in item.inputs if value in maker)) for item in tasks]
    children: list[list[int]] = [[] for _ in tasks]
    for number, found in enumerate(parents):
        for parent in found:
            children[parent].append(number)
    need = [0] * len(tasks)
    for number in range(len(tasks) - 1, -1, -1):
        item = tasks[number]
        made = sum(sizes.of(value) for value in item.outputs)
        own = sorted(need[child] for child in children[number] if parents[child][-1] == number)
        waits = [made + before for before in own[:-1]]
        need[number] = max([item.peak, *waits, *own[-1:]])
    waiting = [len(found) for found in parents]
    roots = sorted((number for number, count in enumerate(waiting) if count == 0), key=lambda number: -need[number])
    stack, order = roots, []
    while stack:
        number = stack.pop()
        order.append(number)
        ready = []
        for child in children[number]:
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
        stack += sorted(ready, key=lambda child: -need[child])
    return order


def peak_of(tasks: Sequence[Task], order: Sequence[int], sizes: Sizes) -> int:
    """The most bytes alive at once, feeds included. Results that no task reads are taken by the caller when they are made."""
    readers = Counter(value for item in tasks for value in item.inputs)
    feeds = {value for item in tasks for value in item.inputs} - {value for item in tasks for value in item.outputs}
    alive = most = sum(sizes.of(value) for value in feeds)
    for number in order:
        item = tasks[number]
        most = max(most, alive + item.peak)
        for value in item.outputs:
            if readers[value]:
                alive += sizes.of(value)
        for value in item.inputs:
            readers[value] -= 1
            if readers[value] == 0 and value not in feeds:
                alive -= sizes.of(value)
    return most + SLACK
