"""Stages compiled to lists of calls on registers, with weights as inputs: one code serves every model of the same form.

A call reads and writes registers by number; the closures are built from the operator table alone, so no text is ever
executed. Codes are kept by (stage form, device, layout, width, how the inputs lie, sizes).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpuworker.core.engine.kernels import Form, Function, Kernel, Shape, Target, kernel, overwriting
from gpuworker.core.engine.layouts import Lie, alike
from gpuworker.core.engine.merge_call import MergedKernel
from gpuworker.core.engine.merged import merged
from gpuworker.core.engine.operators import FRESH, gives_size
from gpuworker.core.engine.stages import StageForm, Wire
from gpuworker.core.engine.templates import TemplateStep

Registers = list[Any]
Call = Callable[[Registers], None]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Samples and open length that a code is made for."""

    samples: int
    length: int


@dataclass(frozen=True, slots=True)
class Need:
    """A weight argument: its place in the stage's weights, the form it is wanted in, one for each member (own) or one for all."""

    place: int
    form: Form
    own: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """What is known of one call without running it: how its operands and results lie, and the registers emptied after it.

    over: the operand whose memory the result takes over, or None. alone: members run one after the other. packed: on weights
    packed for this processor.
    """

    step: TemplateStep
    arguments: tuple[int, ...]
    targets: tuple[int, ...]
    lies: tuple[Lie | None, ...]
    made: tuple[Lie, ...]
    free: tuple[int, ...]
    over: int | None
    alone: bool
    packed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Code:
    """calls: one per operator. needs: weights to fill registers with, after the inputs. outputs: registers. lies: how they lie."""

    calls: tuple[Call, ...]
    traces: tuple[Trace, ...]
    inputs: int
    width: int
    registers: int
    needs: tuple[Need, ...]
    outputs: tuple[int, ...]
    lies: tuple[Lie, ...]

    def run(self, inputs: list[Any], weights: Sequence[Any]) -> list[Any]:
        """The stage's outputs. Takes the list of inputs over, so that each is let go of after its last use."""
        registers = inputs
        registers += weights
        registers += [None] * (self.registers - len(registers))
        for call in self.calls:
            call(registers)
        results = [registers[place] for place in self.outputs]
        registers.clear()
        return results

    def run_timed(self, inputs: list[Any], weights: Sequence[Any], clock: Callable[[], float]) -> tuple[list[Any], list[float]]:
        """As `run`; also how long each call took, in units of the clock."""
        registers = inputs
        registers += weights
        registers += [None] * (self.registers - len(registers))
        times = []
        for call in self.calls:
            started = clock()
            call(registers)
            times.append(clock() - started)
        results = [registers[place] for place in self.outputs]
        registers.clear()
        return results, times


class Codes:
    """Compiled codes, kept for the life of a worker."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Code] = {}

    def single(self, form: StageForm, target: Target, sizes: Sizes) -> Code:
        """For one model."""
        key = form.code_key, target, 1, sizes
        if key not in self._known:
            self._known[key] = _Compiler(form, target, sizes, 1, alike("same", len(form.inputs)), alike("common", len(form.weights))).code()
        return self._known[key]

    def group(self, form: StageForm, target: Target, sizes: Sizes, width: int, inputs: tuple[Lie, ...], weights: tuple[Lie, ...]) -> Code:
        """For `width` models. inputs: how each lies. weights: own or common."""
        key = form.code_key, target, width, sizes, inputs, weights
        if key not in self._known:
            self._known[key] = _Compiler(form, target, sizes, width, inputs, weights).code()
        return self._known[key]


class _Compiler:
    def __init__(
        self, form: StageForm, target: Target, sizes: Sizes, width: int, inputs: tuple[Lie, ...], weights: tuple[Lie, ...]
    ) -> None:
        self.form, self.target, self.sizes, self.width = form, target, sizes, width
        self.lies: dict[int, Lie] = dict(enumerate(inputs))
        self.weight_lies = weights
        self.needs: list[Need] = []
        self.registers = len(inputs) + len(form.weights)
        self.leaving: set[Wire] = {("v", place - form.first, result) for place, result in form.outputs}
        self.made: dict[tuple[int, int], int] = {}
        self.traces: list[Trace] = []

    def code(self) -> Code:
        form = self.form
        last, shared = self._last_uses()
        kernels = [self._kernel(number, step) for number, step in enumerate(form.steps)]
        needs: dict[int, Need] = {}
        calls = []
        for number, (step, made) in enumerate(zip(form.steps, kernels, strict=True)):
            for place, wire in enumerate(form.wiring[number]):
                if wire is not None and wire[0] == "w":
                    own = self.weight_lies[wire[1]] == "own"
                    plain = Form("stacked") if own else Form("plain")
                    needs[wire[1]] = Need(wire[1], made.forms.get(place, plain), own)
            calls.append(self._call(number, step, made, last, shared))
        outputs = tuple(self.made[place - form.first, result] for place, result in form.outputs)
        lies = tuple(self.lies[register] for register in outputs)
        ordered = tuple(needs[place] for place in range(len(form.weights)))
        return Code(tuple(calls), tuple(self.traces), len(form.inputs), self.width, self.registers, ordered, outputs, lies)

    def _kernel(self, number: int, step: TemplateStep) -> Kernel | MergedKernel:
        wires = self.form.wiring[number]
        shapes = [self._shape(number, place, wire) for place, wire in enumerate(wires)]
        if self.width == 1:
            made: Kernel | MergedKernel = kernel(step, shapes, self.target)
            lies = alike("same", step.kind.outputs)
        else:
            operand_lies = [None if wire is None else self._lie(wire) for wire in wires]
            several = merged(step, operand_lies, self.width, shapes, self.target)
            made, lies = several, several.lies
        for result in range(step.kind.outputs):
            self.made[number, result] = self.registers
            self.lies[self.registers] = lies[result]
            self.registers += 1
        return made

    def _lie(self, wire: Wire) -> Lie:
        return self.weight_lies[wire[1]] if wire[0] == "w" else self.lies[self._register(wire)]

    def _register(self, wire: Wire) -> int:
        kind, number, result = wire
        if kind == "v":
            return self.made[number, result]
        return number if kind == "x" else len(self.form.inputs) + number

    def _shape(self, number: int, place: int, wire: Wire | None) -> Shape | None:
        if wire is None:
            return None
        return self.form.steps[number].operands[place].shape(self.sizes.samples, self.sizes.length)

    def _last_uses(self) -> tuple[dict[Wire, int], set[Wire]]:
        """For each value the last step that reads it; and those made here that leave the stage or are read more than once."""
        last: dict[Wire, int] = {}
        reads: Counter[Wire] = Counter()
        for number, wires in enumerate(self.form.wiring):
            for wire in wires:
                if wire is not None and wire[0] != "w":
                    last[wire] = number
                    reads[wire] += 1
        return last, self.leaving | {wire for wire, count in reads.items() if count != 1}

    def _call(self, number: int, step: TemplateStep, made: Kernel | MergedKernel, last: Mapping[Wire, int], kept: set[Wire]) -> Call:
        wires = self.form.wiring[number]
        arguments = tuple(-1 if wire is None else self._register(wire) for wire in wires)
        targets = tuple(self.made[number, result] for result in range(step.kind.outputs))
        read = dict.fromkeys(wire for wire in wires if wire is not None and wire[0] != "w")
        done = [self._register(wire) for wire in read if last[wire] == number and wire not in self.leaving]
        unread = [
            self.made[number, result]
            for result in range(step.kind.outputs)
            if ("v", number, result) not in last and ("v", number, result) not in self.leaving
        ]
        lies = tuple(None if wire is None else self._lie(wire) for wire in wires)
        function, places, over = self._in_place(number, step, made.function, arguments, kept)
        free = (*done, *unread)
        alone = isinstance(made, MergedKernel) and made.alone
        packed = any(form.name == "packed" for form in made.forms.values())
        self.traces.append(Trace(step, arguments, targets, lies, tuple(self.lies[target] for target in targets), free, over, alone, packed))
        return bind(function, places, targets, free)

    def _in_place(
        self, number: int, step: TemplateStep, function: Function, arguments: tuple[int, ...], kept: set[Wire]
    ) -> tuple[Function, tuple[int, ...], int | None]:
        """Write over an operand that was made here, is read by this step alone, and is as large as the result.

        Gives the function, its arguments, and the register written over.
        """
        over = overwriting(step)
        if over is None:
            return function, arguments, None
        wires = self.form.wiring[number]
        places = range(2) if step.kind.name in ("add", "mul") else range(1)
        for place in places:
            wire = wires[place]
            if wire is None or wire[0] != "v" or wire in kept:
                continue
            maker, facts = self.form.steps[wire[1]], step.facts[0]
            given = maker.facts[wire[2]]
            if maker.kind.name not in FRESH or given.dims != facts.dims or given.dtype != facts.dtype or gives_size(maker.kind.name):
                continue
            if self.width > 1 and not self._lie_alike(wires):
                continue
            ordered = arguments if place == 0 else (arguments[1], arguments[0], *arguments[2:])
            return over, ordered, arguments[place]
        return function, arguments, None

    def _lie_alike(self, wires: Sequence[Wire | None]) -> bool:
        made_here = [wire for wire in wires if wire is not None and wire[0] == "v"]
        lies = {self._lie(wire) for wire in made_here}
        shapes = {self.form.steps[wire[1]].facts[wire[2]].dims for wire in made_here}
        return len(made_here) == len(wires) and len(lies) == len(shapes) == 1 and lies <= {"stack", "wide"}


def bind(function: Function, arguments: Sequence[int], targets: Sequence[int], free: Sequence[int]) -> Call:
    """A call on registers. Arguments of -1 are None; trailing ones are left out. Registers in `free` are emptied afterwards."""
    places = tuple(arguments)
    while places and places[-1] == -1:
        places = places[:-1]
    call = _plain_call(function, places, targets)
    if not free:
        return call
    gone = tuple(free)

    def freeing(registers: Registers) -> None:
        call(registers)
        for place in gone:
            registers[place] = None

    return freeing


def _plain_call(function: Function, places: tuple[int, ...], targets: Sequence[int]) -> Call:
    if len(targets) > 1:
        many = tuple(targets)

        def several(registers: Registers) -> None:
            results = function(*[None if place < 0 else registers[place] for place in places])
            for target, result in zip(many, results, strict=False):
                registers[target] = result

        return several
    (target,) = targets
    if -1 in places or len(places) > 3 or not places:

        def any_number(registers: Registers) -> None:
            registers[target] = _one(function(*[None if place < 0 else registers[place] for place in places]))

        return any_number
    if len(places) == 1:
        (first,) = places

        def one(registers: Registers) -> None:
            registers[target] = function(registers[first])

        return one
    if len(places) == 2:
        first, second = places

        def two(registers: Registers) -> None:
            registers[target] = function(registers[first], registers[second])

        return two
    first, second, third = places

    def three(registers: Registers) -> None:
        registers[target] = function(registers[first], registers[second], registers[third])

    return three


def _one(result: Any) -> Any:
    """The first of several results where only one is asked for."""
    return result[0] if isinstance(result, tuple) and not isinstance(result, torch.Size) else result
