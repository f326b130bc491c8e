"""What a merge rule is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpuworker.core.engine.kernels import Form, Function, Shape, Target
from gpuworker.core.engine.layouts import Lie
from gpuworker.core.engine.templates import TemplateStep


@dataclass(frozen=True, slots=True)
class Call:
    """One step for g members. lies: per operand. shapes: per operand as a member has it, a hint."""

    step: TemplateStep
    lies: tuple[Lie | None, ...]
    g: int
    shapes: tuple[Shape | None, ...]
    target: Target

    @property
    def attributes(self) -> Mapping[str, Any]:
        return self.step.kind.attributes

    def lie(self, place: int) -> Lie | None:
        return self.lies[place] if place < len(self.lies) else None

    def rank(self, place: int) -> int:
        shape = self.shapes[place]
        assert shape is not None
        return len(shape)

    def sized(self) -> bool:
        """Whether some attribute is a size known only while running."""
        return len(self.lies) > self.step.n_inputs


@dataclass(frozen=True, slots=True)
class MergedKernel:
    """function: takes the operands in order. forms: for the operands that are weights. lies: of the results.

    alone: the members run one after the other.
    """

    function: Function
    forms: Mapping[int, Form]
    lies: tuple[Lie, ...]
    alone: bool = False
