"""Running branches of one form together, piece by piece, each piece at its own width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from gpuworker.core.engine.code import Code, Codes, Sizes
from gpuworker.core.engine.kernels import Form as WeightForm
from gpuworker.core.engine.kernels import Target
from gpuworker.core.engine.layouts import Lie
from gpuworker.core.engine.operators import OPAQUE
from gpuworker.core.engine.pieces import Piece, gathered, members
from gpuworker.core.engine.prepare import Prepared
from gpuworker.core.engine.stages import Branch, StageForm, Wire
from gpuworker.core.program.execute import run_batched

Values = dict[int, Any]
"""What is alive, by value number: feeds and results of branches."""
Wanted = list[tuple[WeightForm, list[int]]]


class Segment(NamedTuple):
    """Stages first to stop of a form, `width` branches at a time."""

    first: int
    stop: int
    width: int


@dataclass(frozen=True, slots=True)
class Bound:
    """A piece of work ready to run: `count` branches from `first` on. wanted: its weights, as forms of those in the graph."""

    stage: StageForm
    code: Code
    first: int
    count: int
    wanted: Wanted


class Group:
    """Branches of one form on one chunk of samples after the other. The branches read the same values from outside.

    clock: where given, every call is timed by it, and `times` are those of the last piece.
    """

    def __init__(
        self,
        prepared: Prepared,
        codes: Codes,
        target: Target,
        sizes: Sizes,
        branches: Sequence[Branch],
        segments: Sequence[Segment],
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock
        self.times: list[float] = []
        self._prepared, self._codes, self._target, self._sizes = prepared, codes, target, sizes
        self.branches, self.form = tuple(branches), branches[0].form
        total = len(self.branches)
        self._segments = tuple(segments) if total > 1 else (Segment(0, self.form.stages, 1),)
        self._bound: dict[tuple[int, int], Bound] = {}
        self._last = {
            wire: number for number, segment in enumerate(self._segments) for wire in self.form.span(segment.first, segment.stop).origins
        }
        self.opaque = self.form.span(0, 1).steps[0].kind.name == OPAQUE

    def run(self, values: Values, done: frozenset[int]) -> Iterator[Bound]:
        """Run all segments; then the results of each branch stand in `values`.

        Yields after each piece, so that the caller can stop, time, or look around. done: values from outside that nobody else
        reads any more: they are let go of on the way. Raises whatever an operator raises; `values` then lacks what was let go of.
        """
        total, form = len(self.branches), self.form
        known: dict[Wire, list[Piece]] = {}
        for place, number in enumerate(self.branches[0].inputs):
            held = values.pop(number) if number in done else values[number]
            known["x", place, 0] = [Piece(held, "same", 0, total)]
        held = None
        for number, segment in enumerate(self._segments):
            stage = form.span(segment.first, segment.stop)
            made: list[list[Piece]] = [[] for _ in stage.outputs]
            for first in range(0, total, segment.width):
                count = min(segment.width, total - first)
                last = first + count == total
                inputs, lies = [], []
                for wire in stage.origins:
                    leaves = last and self._last[wire] == number
                    pieces = known.pop(wire) if leaves else known[wire]
                    value, lie = gathered(pieces, first, count)
                    inputs.append(value)
                    lies.append(lie)
                    value = pieces = None  # type: ignore[assignment]
                bound = self._bound.get((number, first))
                if bound is None:
                    bound = self._bound[number, first] = self._bind(stage, first, count, lies)
                with torch.inference_mode():
                    results = self._results(bound, inputs)
                for output, target, value, lie in zip(stage.outputs, made, results, bound.code.lies, strict=True):
                    piece = Piece(value, "same" if count == 1 else lie, first, count)
                    target.append(piece)
                    if output in form.outputs:
                        own = self.branches[first : first + count]
                        values |= {branch.value(output): each for branch, each in zip(own, members(piece), strict=True)}
                value = results = piece = None  # type: ignore[assignment]
                yield bound
            known |= {("v", *place): pieces for place, pieces in zip(stage.outputs, made, strict=True)}

    def _results(self, bound: Bound, inputs: list[Any]) -> list[Any]:
        if self.opaque:
            return [self._whole_program(self.branches[bound.first], inputs)]
        if self._clock is None:
            return bound.code.run(inputs, self.weights(bound))
        results, self.times = bound.code.run_timed(inputs, self.weights(bound), self._clock)
        return results

    def weights(self, bound: Bound) -> Sequence[torch.Tensor]:
        """The tensors a piece of work is given, in the order its code wants them."""
        return self._prepared.bundle((self.form.number, bound.stage.first, self.branches[bound.first].number, bound.count), bound.wanted)

    def _bind(self, stage: StageForm, first: int, count: int, lies: Sequence[Lie]) -> Bound:
        numbers = [self._numbers(stage, branch) for branch in self.branches[first : first + count]]
        if count == 1:
            code = self._codes.single(stage, self._target, self._sizes)
        else:
            own: tuple[Lie, ...] = tuple(["common" if len(set(column)) == 1 else "own" for column in zip(*numbers, strict=True)])
            code = self._codes.group(stage, self._target, self._sizes, count, tuple(lies), own)
        columns = [[row[need.place] for row in numbers] for need in code.needs]
        wanted = [(need.form, column if need.own else column[:1]) for need, column in zip(code.needs, columns, strict=True)]
        return Bound(stage, code, first, count, wanted)

    def _numbers(self, stage: StageForm, branch: Branch) -> list[int]:
        """The graph's weights that a stage of this branch takes."""
        nodes, found = self._prepared.graph.nodes, []
        for place, number in stage.weights:
            arg = nodes[branch.nodes[place]].args[number]
            assert arg is not None
            found.append(~arg)
        return found

    def _whole_program(self, branch: Branch, inputs: Sequence[Any]) -> Mapping[str, torch.Tensor]:
        """A program that cannot be planned runs as it is, in batches of its own."""
        model = self._prepared.graph.models[branch.members[0]]
        tensors = {key: self._prepared.read(key) for key in model.weights}
        fed = dict(zip((item.name for item in model.program.inputs), inputs, strict=True))
        return run_batched(model.program, tensors, fed, self._sizes.samples, self._target.device)
