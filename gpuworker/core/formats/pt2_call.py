"""One call of an ATen operator while it is converted: typed access to its arguments, defaults from torch's own schema."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch

from gpuworker.core.errors import UnreadableModel, UnsupportedOperator
from gpuworker.core.program.build import Builder
from gpuworker.core.program.ops.kind import DTYPE_NAMES
from gpuworker.core.program.values import Dim, Value

FIX = "Export the model without this operator, or as ONNX."


def schema_defaults(target: str) -> Mapping[str, Any]:
    """Default values of the arguments of "name.overload", from the operator's schema."""
    overload = reduce(getattr, target.split("."), torch.ops.aten)
    return {argument.name: argument.default_value for argument in overload._schema.arguments if argument.has_default_value()}  # type: ignore[attr-defined]


@dataclass(slots=True)
class Call:
    """args: by schema name; a tensor or size is a Value, a list a list, everything else plain Python."""

    target: str
    args: Mapping[str, Any]
    builder: Builder

    def refuse(self, reason: str) -> UnsupportedOperator:
        return UnsupportedOperator("The model needs an operator that is not supported.", detail=f"{self.target}: {reason}.", fix=FIX)

    def broken(self, reason: str) -> UnreadableModel:
        return UnreadableModel("A node of the model is malformed.", detail=f"{self.target}: {reason}.", fix="Export the model again.")

    def emit(self, name: str, *inputs: Value | None, **attributes: Any) -> Value:
        return self.builder.emit(name, inputs, attributes)

    def has(self, name: str) -> bool:
        return self.args.get(name) is not None

    def tensor(self, name: str) -> Value:
        value = self.args.get(name)
        if not isinstance(value, Value):
            raise self.broken(f"argument {name} is not a tensor")
        return self.builder.as_tensor([value], True) if value.is_size else value

    def maybe(self, name: str) -> Value | None:
        return self.tensor(name) if self.has(name) else None

    def tensors(self, name: str) -> list[Value]:
        found = self.args.get(name)
        if not isinstance(found, list) or not all(isinstance(item, Value) for item in found):
            raise self.broken(f"argument {name} is not a list of tensors")
        return found

    def operand(self, name: str) -> Value:
        """A tensor, a size or a plain number, as a tensor."""
        value = self.args.get(name)
        if isinstance(value, (bool, int, float)):
            return self.builder.scalar(value)
        return self.tensor(name)

    def dim(self, name: str) -> Dim:
        value = self.args.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, Value)):
            raise self.broken(f"argument {name} is not a size")
        return value

    def dims(self, name: str) -> list[Dim]:
        found = self.args.get(name)
        found = [found] if isinstance(found, (int, Value)) else found
        if not isinstance(found, (list, tuple)) or any(isinstance(item, bool) or not isinstance(item, (int, Value)) for item in found):
            raise self.broken(f"argument {name} is not a list of sizes")
        return list(found)

    def integer(self, name: str) -> int:
        value = self.dim(name)
        if isinstance(value, Value):
            raise self.refuse(f"argument {name} is not a constant")
        return value

    def integers(self, name: str) -> list[int]:
        found = self.dims(name)
        if any(isinstance(item, Value) for item in found):
            raise self.refuse(f"argument {name} is not a constant")
        return [item for item in found if isinstance(item, int)]

    def number(self, name: str) -> float:
        value = self.args.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.broken(f"argument {name} is not a number")
        return float(value)

    def flag(self, name: str) -> bool:
        value = self.args.get(name, False)
        if not isinstance(value, bool):
            raise self.broken(f"argument {name} is not true or false")
        return value

    def text(self, name: str) -> str:
        value = self.args.get(name)
        if not isinstance(value, str):
            raise self.broken(f"argument {name} is not text")
        return value

    def dtype(self, name: str = "dtype", default: torch.dtype | None = None) -> str | None:
        value = self.args.get(name) or default
        return DTYPE_NAMES[value] if isinstance(value, torch.dtype) else None

    def rank(self, value: Value) -> int:
        if value.rank is None:
            raise self.refuse("the number of dimensions of its input is not known")
        return value.rank

    def axis(self, axis: int, rank: int) -> int:
        if not -max(rank, 1) <= axis < max(rank, 1):
            raise self.broken(f"dimension {axis} of {rank}")
        return axis % rank if rank else 0

    def cast(self, value: Value, dtype: str | None) -> Value:
        same = dtype is None or (value.dtype is not None and DTYPE_NAMES[value.dtype] == dtype)
        return value if same else self.builder.emit("cast", [value], {"dtype": dtype})

    def sizes_of(self, value: Value) -> list[Dim]:
        return [self.builder.size(value, dim) for dim in range(self.rank(value))]


Handler = Callable[[Call], Any]
SIZE_MATH: Mapping[str, str] = {"add": "add", "sub": "sub", "mul": "mul", "floordiv": "floordiv", "mod": "mod"}
PLAIN_MATH: Mapping[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
}
