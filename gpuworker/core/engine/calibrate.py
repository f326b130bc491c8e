"""The calibration sweep: small networks of many sizes, alone and merged, timed call by call on the device at hand."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import torch

from gpuworker.core.engine.clock import Pace, clock_of, steady, tick_of
from gpuworker.core.engine.code import Codes, Sizes
from gpuworker.core.engine.cost import CostModel, Observation, fit
from gpuworker.core.engine.estimate import Entry, touched, work
from gpuworker.core.engine.execute import Bound, Group, Segment, Values
from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.kernels import Target
from gpuworker.core.engine.prepare import Prepared
from gpuworker.core.engine.recipes import slot_keys
from gpuworker.core.engine.stages import Branch, branches
from gpuworker.core.engine.templates import RESULTS, Model, Rules, Templates
from gpuworker.core.formats.architectures import ARCHITECTURES, Config, Net
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import Input, Program
from gpuworker.core.program.ops.kind import DTYPES
from gpuworker.core.program.values import Value

Tensor = torch.Tensor
SECONDS = 20.0
WIDTHS = (1, 2, 8, 32)
SAMPLES = ((1, 8, 64), (1, 4, 32), (1, 16, 128))
MOST_ROWS = 512
"""Samples times models at most: what takes seconds says little that a part of it would not."""
LENGTHS = (1, 2, 4, 16, 32)
"""Of inputs whose size is open: short ones have few rows beside large weights, as a perceptron has for one sample."""
KEEP = 1 << 30
LEAST_RUNS, MOST_RUNS, RUN_SECONDS = 3, 15, 0.03
"""Warm runs of one thing that is timed: more of what is short, until this much time has gone into them."""


class Deck(random.Random):
    """Draws every option before any of them again: twenty seconds are too few to leave to chance whether small channels are seen."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._left: dict[tuple[Any, ...], list[Any]] = {}

    def choice(self, seq: Any) -> Any:
        left = self._left.setdefault(tuple(seq), [])
        if not left:
            left += self.sample(seq, len(seq))
        return left.pop()


def calibrate(target: Target, rules: Rules = "folded", seconds: float = SECONDS) -> CostModel:
    """A cost model of this device, from as many networks as the time allows."""
    return fit(target.device, list(sweep(target, rules, seconds)))


def sweep(target: Target, rules: Rules = "folded", seconds: float = SECONDS, without: str = "") -> Iterator[Observation]:
    """Timed calls until the seconds are over; the first rounds see every kind of network, but for one that may be left out."""
    source, templates, stop = Deck(7), Templates(), time.perf_counter() + seconds
    while True:
        for make in (KINDS[kind] for kind in KINDS if kind != without):
            program, _ = make(source)
            model = templates.model(program, rules)
            for width, samples in product(WIDTHS, source.choice(SAMPLES)):
                if width * samples > MOST_ROWS:
                    continue
                if time.perf_counter() > stop:
                    return
                yield from timed(siblings(model, width), target, samples, width, source.choice(LENGTHS))


def siblings(model: Model, count: int) -> Graph:
    """A graph of models with one structure and weights that all differ. Only for timing: no weights stand behind the keys."""
    graph = Graph()
    for number in range(count):
        weights = tuple(hashlib.sha256(f"{number}:{key}".encode()).hexdigest() for key in model.weights)
        made = Model(model.template, model.program, weights, slot_keys(model.template.slots, weights))
        graph.add(made, [item.name for item in model.program.inputs])
    return graph


def timed(graph: Graph, target: Target, samples: int, width: int, length: int = 16) -> Iterator[Observation]:
    """Every call of every branch of a graph of siblings: the median of a few warm runs."""
    shapes = {key: (w.dtype, w.shape) for m in graph.models for key, w in zip(m.weights, m.program.weights, strict=True)}

    def read(key: str) -> Tensor:
        return invented(*shapes[key])

    prepared, codes = Prepared(graph, read, target.device, KEEP), Codes()
    values: Values = {}
    for item in graph.models[0].program.inputs:
        shape = [samples if place == 0 else length if size is None else size for place, size in enumerate(item.shape)]
        values[graph.feeds[item.name] * RESULTS] = invented(item.dtype, tuple(shape)).to(target.device)
    found: dict[tuple[int, tuple[int, ...]], list[Branch]] = {}
    for branch in branches(graph):
        found.setdefault((branch.form.number, branch.inputs), []).append(branch)
    clock, pace = clock_of(target.device), Pace(target.device)
    tick = tick_of(clock)
    for group in found.values():
        stages = group[0].form.stages
        segments = [Segment(0, stages, width)]
        runner = Group(prepared, codes, target, Sizes(samples, length), group, segments, clock)
        rows: list[list[float]] = []
        pieces: list[float] = []
        paces: list[float] = []
        bound: Bound | None = None
        for _ in runs(clock):
            paces.append(pace.now())
            started = clock()
            for piece in runner.run(values, frozenset()):
                bound = piece
                pieces.append(clock() - started - sum(runner.times) - tick * (len(runner.times) + 1))
                rows.append([took - tick for took in runner.times])
                started = clock()
        assert bound is not None
        calls = work(bound.code, samples, length)
        around = touched(calls)
        for entries, times in zip(calls[:-1], zip(*rows[1:], strict=True), strict=True):
            if entries and entries[0][0] != "free":
                yield _observation(entries, times, paces[1:], around)
        yield _observation(calls[-1], pieces[1:], paces[1:], around)


def _observation(entries: Sequence[Entry], seconds: Sequence[float], paces: Sequence[float], around: float) -> Observation:
    typical, pace = steady(seconds, paces)
    return Observation(tuple(entries), 1000 * typical, pace, around)


def runs(clock: Callable[[], float]) -> Iterator[None]:
    """As often as something is to be run and timed: once to warm up, then until enough is known of it."""
    yield
    begun = clock()
    for number in range(MOST_RUNS):
        if number >= LEAST_RUNS and clock() - begun > RUN_SECONDS:
            return
        yield


def invented(dtype: str, shape: Sequence[int]) -> Tensor:
    """A tensor of sensible values: small normal ones, positive where all weights are taken for variances, indices of 0 to 7."""
    kind = DTYPES[dtype]
    if kind.is_floating_point:
        return (torch.rand(tuple(shape)) * 0.1 + 0.02).to(kind)
    return torch.randint(0, 2 if kind == torch.bool else 8, tuple(shape)).to(kind)


def _catalog(name: str, options: Callable[[random.Random], Mapping[str, Any]]) -> Callable[[random.Random], tuple[Program, object]]:
    """A network of one of the catalog's architectures."""

    def make(source: random.Random) -> tuple[Program, object]:
        settings = Config({"architecture": name, **options(source)})
        architecture = ARCHITECTURES[name]
        builder = Builder((architecture.port(settings),))
        wanted: dict[str, tuple[int, ...]] = {}
        architecture.build(Net(builder, {}, wanted), settings, builder.inputs[0])
        builder = Builder((architecture.port(settings),))
        net = Net(builder, {key: torch.rand(shape) for key, shape in wanted.items()}, {})
        return builder.finish([("y", architecture.build(net, settings, builder.inputs[0]))])

    return make


def _by_hand(
    shapes: Sequence[tuple[int, ...]], build: Callable[[random.Random, Builder, Value], Value]
) -> Callable[[random.Random], tuple[Program, object]]:
    """A network of our own. shapes: of one sample."""

    def make(source: random.Random) -> tuple[Program, object]:
        builder = Builder((Input("x", "float32", (None, *source.choice(shapes))),))
        return builder.finish([("y", build(source, builder, builder.inputs[0]))])

    return make


def _recurrent(kind: str, source: random.Random, builder: Builder, x: Value) -> Value:
    size = source.choice((16, 32, 64, 128))
    gates = (4 if kind == "lstm" else 3) * size
    weights = [builder.weight(torch.rand(shape)) for shape in ((gates, 32), (gates, size), (gates,), (gates,))]
    states = [None] * (2 if kind == "lstm" else 1)
    y = builder.emit_many(kind, [x, *states, *weights], {"batch_first": True}, 1)[0]
    return builder.emit("mean", [y], {"dims": [1]})


def _elementwise(source: random.Random, builder: Builder, x: Value) -> Value:
    channels, size = source.choice((8, 16, 32)), source.choice((2, 4))
    y = builder.emit("conv", [x, builder.weight(torch.rand(channels, 3, 1, 1))])
    y = builder.emit("group_norm", [y, builder.weight(torch.rand(channels)), builder.weight(torch.rand(channels))], {"groups": 4})
    y = builder.emit("silu", [y])
    deep = builder.weight(torch.rand(channels, 1, 3, 3))
    y = builder.emit("conv", [y, deep], {"groups": channels, "pads": [1, 1, 1, 1]})
    y = builder.emit("max_pool", [builder.emit("softplus", [y])], {"kernel": [size] * 2, "stride": [size] * 2})
    y = builder.emit("concat", [y, builder.emit("sub", [y, builder.emit("mean", [y], {"dims": [1], "keepdim": True})])], {"dim": 1})
    return builder.emit("softmax", [builder.emit("mean", [y], {"dims": [2, 3]})], {"dim": 1})


KINDS: Mapping[str, Callable[[random.Random], tuple[Program, object]]] = {
    "mlp": _catalog(
        "mlp", lambda s: {"inputs": s.choice((16, 64, 512)), "hidden": [s.choice((16, 64, 256, 1024))] * s.choice((1, 2, 3)), "classes": 10}
    ),
    "resnet": _catalog(
        "resnet_cifar",
        lambda s: {
            "in_channels": 3, "height": (side := s.choice((16, 24, 32))), "width": side, "blocks": 1, "classes": 10,
            "channels": [(first := s.choice((8, 16, 32, 48))), 2 * first, 4 * first],
        },
    ),
    "transformer": _catalog(
        "transformer",
        lambda s: {
            "vocabulary": 100, "width": (wide := s.choice((32, 64, 128, 256))), "heads": s.choice((2, 4)), "max_length": 32,
            "layers": 1, "feed_forward": s.choice((2, 4)) * wide, "classes": 10, "activation": s.choice(("relu", "gelu")),
        },
    ),
    "cnn1d": _catalog(
        "cnn1d",
        lambda s: {
            "in_channels": s.choice((1, 6)), "window": s.choice((64, 128)), "channels": [s.choice((8, 16, 32)), 64], "classes": 6,
            "kernel": s.choice((3, 5)),
        },
    ),
    "lstm": _by_hand([(steps, 32) for steps in (8, 24, 48)], partial(_recurrent, "lstm")),
    "gru": _by_hand([(steps, 32) for steps in (8, 24, 48)], partial(_recurrent, "gru")),
    "elementwise": _by_hand([(3, 24, 24)], _elementwise),
}  # fmt: skip
"""Networks of the sweep: name > maker of a program of random sizes."""


def warm_up() -> None:
    """Analyse a small network: whatever libraries load late for it is loaded then."""
    Templates().model(KINDS["elementwise"](random.Random(0))[0])  # noqa: S311 - sizes to try
