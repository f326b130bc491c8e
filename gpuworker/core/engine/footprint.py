"""What one model takes by itself: worked out once when it is published, turned into time on any device by that device's cost model.

Nothing is run for it. The document holds the amounts of every call (work.py) for one sample and for a batch, so that a device
that is measured later, or anew, needs neither the program nor the engine's analysis again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gpuworker.core.engine.code import Codes, Sizes
from gpuworker.core.engine.cost import CostModel
from gpuworker.core.engine.estimate import Entry, touched, work
from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.kernels import Target
from gpuworker.core.engine.plan import Options
from gpuworker.core.engine.planner import interval, plan
from gpuworker.core.engine.stages import branches
from gpuworker.core.engine.templates import Templates
from gpuworker.core.engine.widths import corrected, correction_of
from gpuworker.core.engine.work import AMOUNTS
from gpuworker.core.errors import UserError
from gpuworker.core.program.model import Program
from gpuworker.core.program.ops.kind import DTYPES
from gpuworker.core.specs import FORECAST_BATCH

VERSION = 4
"""Of the document and of how it is worked out: another one means that models are analysed again."""
BATCHES = (1, FORECAST_BATCH)
_ROOM = 1 << 50  # bytes: memory is to be told, not to be kept to
_MOST = 20_000  # different entries in all, and how often one occurs
_LARGEST = 1e18


class Unforeseen(UserError):
    """Nothing can be said about a program before it is run."""

    code = "unforeseen"


class Forecast(NamedTuple):
    """Of one batch of `samples` on one device. ms, low, high: milliseconds and their 90 % interval. memory_bytes: weights and
    activations."""

    samples: int
    ms: float
    low: float
    high: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A compiled piece of work. key: what corrections are kept by. entries: how often each occurs."""

    key: str
    entries: tuple[tuple[Entry, int], ...]

    @property
    def touched(self) -> float:
        """Elements read and written."""
        return sum(count * touched([[entry]]) for entry, count in self.entries)

    def ms(self, cost: CostModel, samples: int, around: float) -> tuple[float, float]:
        """(milliseconds, their variance)."""
        curves = [(count, *cost.ms([[entry]], around)) for entry, count in self.entries]
        ms, variance = sum(count * ms for count, ms, _ in curves), sum(count * spread for count, _, spread in curves)
        return corrected(ms, variance, *correction_of(cost, [self.key], 1, samples))


@dataclass(frozen=True, slots=True)
class Batch:
    """Work on `samples` at once. memory_bytes: weights in their own types and laid out anew, inputs, activations."""

    samples: int
    memory_bytes: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Footprint:
    """length: of the open size of the inputs (tokens), 0 where none is open. batches: in the order of BATCHES."""

    length: int
    batches: tuple[Batch, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-safe and small: whole amounts as integers."""
        return {
            "version": VERSION,
            "length": self.length,
            "batches": [
                {
                    "samples": batch.samples,
                    "memory_bytes": batch.memory_bytes,
                    "pieces": [
                        [
                            piece.key,
                            [[family, [_short(x) for x in amounts], times, count] for (family, amounts, times), count in piece.entries],
                        ]
                        for piece in batch.pieces
                    ],
                }
                for batch in self.batches
            ],
        }

    @classmethod
    def from_json(cls, document: object) -> Footprint:
        """Read what `to_json` wrote, also from a process that is not trusted. Raises ValueError for anything else."""
        try:
            if not isinstance(document, Mapping) or document["version"] != VERSION:
                raise ValueError("a footprint of another version")
            batches = tuple(_batch(item) for item in _list(document["batches"]))
            if tuple(batch.samples for batch in batches) != BATCHES:
                raise ValueError("other batches than asked for")
            if sum(len(piece.entries) for batch in batches for piece in batch.pieces) > _MOST:
                raise ValueError("more work than any program")
            return cls(_whole(document["length"]), batches)
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"no footprint: {error!r}") from error


def footprint(program: Program, length: int, target: Target) -> Footprint:
    """Analyse a program. length: of its inputs' open size. Raises Unforeseen where the engine runs the program as one step."""
    templates = Templates()
    model = templates.model(program)
    if model.template.opaque:
        raise Unforeseen("The engine knows this program only as a whole: what it takes is found by running it.")
    graph, codes = Graph(), Codes()
    graph.add(model, [item.name for item in program.inputs])
    found = branches(graph)
    weights = sum(math.prod(weight.shape) * DTYPES[weight.dtype].itemsize for weight in program.weights)
    batches = []
    for samples in BATCHES:
        # A gain of all there is: no smaller chunk is preferred, the batch stays whole.
        options = Options(target.device, target.layout, budget=_ROOM, chunk=samples, widths=(1,), gain=1.0)
        predicted = plan(graph, found, CostModel(target.device), codes, options, samples, length).predicted
        pieces = []
        for branch in found:
            span = branch.form.span(0, branch.form.stages)
            calls = work(codes.single(span, target, Sizes(samples, length)), samples, length)
            pieces.append(Piece(span.code_key, tuple(Counter(entry for entries in calls for entry in entries).items())))
        batches.append(Batch(samples, weights + predicted.weight_bytes + predicted.peak_bytes, tuple(pieces)))
    return Footprint(length, tuple(batches))


def forecasts(found: Footprint, cost: CostModel) -> list[Forecast]:
    """What its batches take on a device, as a plan of this model alone would predict."""
    result = []
    for batch in found.batches:
        around = sum(piece.touched for piece in batch.pieces)
        pieces = [piece.ms(cost, batch.samples, around) for piece in batch.pieces]
        ms, variance = sum(ms for ms, _ in pieces), sum(spread for _, spread in pieces)
        result.append(Forecast(batch.samples, ms, *interval(ms, variance), batch.memory_bytes))
    return result


def _short(amount: float) -> float:
    return int(amount) if amount == int(amount) else amount


def _batch(item: Mapping[str, Any]) -> Batch:
    return Batch(_whole(item["samples"]), _whole(item["memory_bytes"]), tuple(_piece(key, rows) for key, rows in _list(item["pieces"])))


def _piece(key: object, rows: object) -> Piece:
    if not isinstance(key, str) or len(key) > 100:
        raise ValueError("no key of a piece")
    entries = []
    for family, amounts, times, count in _list(rows):
        numbers = tuple(float(amount) for amount in _list(amounts))
        if len(numbers) != len(AMOUNTS[family]) or not all(0 <= number <= _LARGEST for number in numbers):
            raise ValueError(f"no amounts of {family}")
        entries.append(((family, numbers, _often(times)), _often(count)))
    return Piece(key, tuple(entries))


def _list(value: object) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) > _MOST:
        raise ValueError("no list, or one that is too long")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise ValueError("no whole number")
    return value


def _often(value: object) -> int:
    if (number := _whole(value)) > _MOST:
        raise ValueError("more often than any program")
    return number
