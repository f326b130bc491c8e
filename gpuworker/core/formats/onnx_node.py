"""One ONNX node while it is converted: typed access to its attributes and inputs, and integer lists kept as sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gpuworker.core.errors import UnreadableModel, UnsupportedOperator
from gpuworker.core.program.build import Builder
from gpuworker.core.program.ops.kind import DTYPE_NAMES, DTYPES, MAX_LIST
from gpuworker.core.program.values import Dim, Value

FIX = "Export the model again with another opset, without this operator, or as a .pt2 archive."
DTYPE_OF_CODE: dict[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}


@dataclass(frozen=True, slots=True)
class Ints:
    """A 1-d (or, if scalar, 0-d) integer tensor known entry by entry: what Shape and its arithmetic make."""

    values: tuple[Dim, ...]
    scalar: bool = False


Item = Value | Ints
Result = Item | Sequence[Item]


@dataclass(slots=True)
class Node:
    """opset: version of the node's own domain. attributes: decoded Python values. labels: filled by classifiers."""

    op: str
    label: str
    opset: int
    inputs: Sequence[Item | None]
    attributes: dict[str, Any]
    outputs: int
    builder: Builder
    labels: list[str] = field(default_factory=list)

    def refuse(self, reason: str) -> UnsupportedOperator:
        return UnsupportedOperator(
            "The model needs an operator that is not supported.", detail=f"{self.op} ({self.label}): {reason}.", fix=FIX
        )

    def broken(self, reason: str) -> UnreadableModel:
        return UnreadableModel(
            "A node of the model is malformed.", detail=f"{self.op} ({self.label}): {reason}.", fix="Export the model again."
        )

    def has(self, place: int) -> bool:
        return place < len(self.inputs) and self.inputs[place] is not None

    def item(self, place: int) -> Item:
        found = self.inputs[place] if place < len(self.inputs) else None
        if found is None:
            raise self.broken(f"input {place + 1} is missing")
        return found

    def tensor(self, place: int = 0) -> Value:
        return self.as_value(self.item(place))

    def maybe(self, place: int) -> Value | None:
        return self.tensor(place) if self.has(place) else None

    def as_value(self, item: Item) -> Value:
        return self.builder.as_tensor(item.values, item.scalar) if isinstance(item, Ints) else item

    def constant(self, place: int, what: str) -> torch.Tensor:
        value = self.tensor(place)
        if value.constant is None:
            raise self.refuse(f"{what} is not a constant")
        return value.constant

    def dims(self, place: int) -> list[Dim]:
        """Input `place` as a list of sizes, whatever it is made of."""
        found = ints_of(self.item(place))
        if found is not None:
            return list(found.values)
        value = self.tensor(place)
        shape = value.shape
        if shape is None or len(shape) > 1 or (shape and shape[0] is None):
            raise self.refuse(f"input {place + 1} is a list of sizes of unknown length")
        return [self.builder.item(value, index) for index in range(int(shape[0] or 0) if shape else 1)]

    def ints(self, place: int, what: str) -> list[int]:
        """Input `place` as constant integers."""
        return [self.plain(dim, what) for dim in self.dims(place)]

    def plain(self, dim: Dim, what: str) -> int:
        if isinstance(dim, Value):
            raise self.refuse(f"{what} is not a constant")
        return dim

    def integer(self, name: str, default: int | None = None) -> int:
        return int(self._attribute(name, default, (int,)))

    def real(self, name: str, default: float | None = None) -> float:
        return float(self._attribute(name, default, (int, float)))

    def text(self, name: str, default: str | None = None) -> str:
        return str(self._attribute(name, default, (str,)))

    def int_list(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        return list(self._attribute(name, default, (list, tuple)))

    def number_list(self, name: str) -> list[float]:
        return list(self._attribute(name, (), (list, tuple)))

    def text_list(self, name: str) -> list[str]:
        return [str(item) for item in self._attribute(name, (), (list, tuple))]

    def _attribute(self, name: str, default: Any, kinds: tuple[type, ...]) -> Any:
        value = self.attributes.get(name, default)
        if value is None:
            raise self.broken(f"attribute {name} is missing")
        if not isinstance(value, kinds):
            raise self.broken(f"attribute {name} has the wrong type")
        return value

    def dtype(self, code: int) -> str:
        if code not in DTYPE_OF_CODE:
            raise self.refuse(f"data type {code}")
        return DTYPE_OF_CODE[code]

    def rank(self, value: Value) -> int:
        if value.rank is None:
            raise self.refuse("the number of dimensions of its input is not known")
        return value.rank

    def axis(self, axis: int, rank: int) -> int:
        if not -rank <= axis < max(rank, 1):
            raise self.broken(f"axis {axis} of {rank} dimensions")
        return axis % rank if rank else 0

    def shape(self, value: Value) -> list[int | None]:
        if value.shape is None:
            raise self.refuse("the shape of its input is not known")
        return list(value.shape)


def ints_of(item: Item) -> Ints | None:
    """An item as known integers, when it is a size list or a small constant integer tensor."""
    if isinstance(item, Ints):
        return item
    tensor = item.constant
    if tensor is None or tensor.dtype not in (torch.int64, torch.int32) or tensor.dim() > 1 or tensor.numel() > MAX_LIST:
        return None
    return Ints(tuple(int(number) for number in tensor.reshape(-1).tolist()), tensor.dim() == 0)


def moving(*items: Item | None) -> bool:
    """Whether a size that is only known while running is among the items."""
    return any(isinstance(item, Ints) and any(isinstance(dim, Value) for dim in item.values) for item in items)


def dtype_name(value: Value) -> str | None:
    return DTYPE_NAMES[value.dtype] if value.dtype is not None else None


def is_integer(value: Value) -> bool:
    return value.dtype is not None and not value.dtype.is_floating_point and value.dtype != torch.bool


def torch_dtype(name: str) -> torch.dtype:
    return DTYPES[name]
