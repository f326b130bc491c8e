"""Draft: a model's operators as a list that rewrites may change, before it becomes a template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gpuworker.core.engine.recipes import Slot
from gpuworker.core.program.model import Input, Op, Program, parse_value


class Ref(NamedTuple):
    """A value: "x" input `number`, "w" slot `number`, "v" result `result` of step `number`."""

    kind: str
    number: int
    result: int = 0


@dataclass(slots=True, eq=False)
class Step:
    """One operator. sizes: run-time sizes that attributes name as "@k"."""

    name: str
    attributes: Mapping[str, Any]
    inputs: list[Ref | None]
    sizes: list[Ref]
    outputs: int = 1

    def operands(self) -> Iterator[Ref]:
        yield from (ref for ref in self.inputs if ref is not None)
        yield from self.sizes


@dataclass(slots=True)
class Draft:
    """Steps are kept by number; a dropped one leaves None, so that numbers stay valid until `order` is asked for."""

    inputs: tuple[Input, ...]
    slots: list[Slot]
    steps: list[Step | None]
    outputs: list[tuple[str, Ref]]
    pending: dict[Ref, Ref] = field(default_factory=dict)

    @classmethod
    def of(cls, program: Program) -> Draft:
        slots = [Slot(weight.dtype, weight.shape, place) for place, weight in enumerate(program.weights)]
        steps: list[Step | None] = [_step(op) for op in program.ops]
        outputs = [(output.name, Ref(*parse_value(output.value))) for output in program.outputs]
        return cls(program.inputs, slots, steps, outputs)

    def add_slot(self, slot: Slot) -> Ref:
        """A derived weight; an equal one is taken again."""
        if slot in self.slots:
            return Ref("w", self.slots.index(slot))
        self.slots.append(slot)
        return Ref("w", len(self.slots) - 1)

    def step(self, ref: Ref | None) -> Step | None:
        """The step that makes a value."""
        return self.steps[ref.number] if ref is not None and ref.kind == "v" else None

    def replace(self, old: Ref, new: Ref) -> None:
        """Let everybody use `new` for `old`. Takes effect on `settle`."""
        self.pending[old] = new

    def final(self, ref: Ref) -> Ref:
        """A value, seen through the replacements that are still to be settled."""
        while ref in self.pending:
            ref = self.pending[ref]
        return ref

    def settle(self) -> None:
        """Apply the replacements and drop the steps that no output needs."""

        if self.pending:
            for step in self.steps:
                if step is not None:
                    step.inputs = [None if ref is None else self.final(ref) for ref in step.inputs]
                    step.sizes = [self.final(ref) for ref in step.sizes]
            self.outputs = [(name, self.final(ref)) for name, ref in self.outputs]
            self.pending.clear()
        needed = set(self.order())
        self.steps = [step if number in needed else None for number, step in enumerate(self.steps)]

    def order(self) -> list[int]:
        """Numbers of the steps the outputs need, operands first. Iterative: a model may be thousands of steps deep."""
        done: dict[int, None] = {}
        for _, output in self.outputs:
            stack = [output.number] if output.kind == "v" else []
            while stack:
                step = self.steps[stack[-1]]
                assert step is not None
                waiting = [ref.number for ref in step.operands() if ref.kind == "v" and ref.number not in done]
                if waiting:
                    stack.extend(reversed(waiting))
                else:
                    done.setdefault(stack.pop())
        return list(done)

    def uses(self) -> Counter[Ref]:
        """How often each value is used, by steps and outputs."""
        counted = Counter(ref for step in self.steps if step is not None for ref in step.operands())
        counted.update(ref for _, ref in self.outputs)
        return counted


def _step(op: Op) -> Step:
    inputs = [None if value is None else Ref(*parse_value(value)) for value in op.inputs]
    return Step(op.name, op.attributes, inputs, [Ref(*parse_value(value)) for value in op.sizes], op.outputs)
