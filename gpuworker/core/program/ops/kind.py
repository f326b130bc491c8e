"""What an operator is: its executor, its arity and the schema of its attributes, plus the cap on what it may allocate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from gpuworker.core.errors import LimitExceeded

MAX_ELEMENTS = 1 << 27
"""Most elements one operator may produce: 512 MiB of float32."""
MAX_LIST = 4_096
MAX_INT = 1 << 62

Kind = Literal["int", "float", "bool", "text", "dim", "ints", "dims", "floats"]
Scalar = int | float | bool | str | None
AttrValue = Scalar | tuple[int | str, ...] | tuple[float, ...]
Attributes = Mapping[str, Any]
Executor = Callable[[Sequence[Any], Attributes], Any]

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint8": torch.uint8,
    "uint16": torch.uint16,
    "uint32": torch.uint32,
    "uint64": torch.uint64,
    "bool": torch.bool,
}
DTYPE_NAMES: dict[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Attr:
    """One attribute. "dim" and "dims" may name a run-time size as "@k", the k-th entry of the operator's `sizes`.

    required: no default. optional: None is a legal value. choices: the legal texts.
    """

    kind: Kind
    default: AttrValue = None
    required: bool = False
    optional: bool = False
    choices: tuple[str, ...] = ()

    def clean(self, value: object, sizes: int) -> AttrValue:
        """The canonical form of a value (lists become tuples). Raises ValueError saying what was expected."""
        if value is None:
            if self.optional:
                return None
            raise ValueError(f"expected {self.kind}, found nothing")
        if self.kind in ("ints", "dims", "floats"):
            if not isinstance(value, (list, tuple)) or len(value) > MAX_LIST:
                raise ValueError(f"expected a list of at most {MAX_LIST} entries")
            single: Kind = {"ints": "int", "dims": "dim", "floats": "float"}[self.kind]  # type: ignore[assignment]
            return tuple(_clean_scalar(single, item, sizes, ()) for item in value)  # type: ignore[return-value]
        return _clean_scalar(self.kind, value, sizes, self.choices)


def _clean_scalar(kind: Kind, value: object, sizes: int, choices: tuple[str, ...]) -> Scalar:
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind in ("int", "dim") and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INT:
        return value
    if (
        kind == "dim"
        and isinstance(value, str)
        and value[:1] == "@"
        and value[1:].isdecimal()
        and len(value) < 6
        and int(value[1:]) < sizes
    ):
        return value
    if (
        kind == "float"
        and isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) not in (math.inf,)
        and value == value
    ):
        return float(value)
    if kind == "float" and value in ("inf", "-inf", "nan", math.inf, -math.inf):
        return float(str(value))
    if kind == "float" and isinstance(value, float):
        return value
    if kind == "text" and isinstance(value, str) and (value in choices if choices else len(value) <= 200):
        return value
    raise ValueError(f"expected {kind}{f' out of {choices}' if choices else ''}, found {str(value)[:60]!r}")


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One operator of the set.

    run(inputs, attributes): inputs are tensors or None in order, attributes have their run-time sizes filled in.
    inputs, outputs: least and most. gives_int: the result is a Python int (a size), not a tensor.
    """

    name: str
    run: Executor
    inputs: tuple[int, int]
    attributes: Mapping[str, Attr] = field(default_factory=dict)
    outputs: tuple[int, int] = (1, 1)
    gives_int: bool = False


def guard(shape: Sequence[int], what: str) -> None:
    """Raise LimitExceeded when a result of this shape is larger than one operator may make."""
    elements = math.prod(shape)
    if elements > MAX_ELEMENTS or any(size < 0 for size in shape):
        raise LimitExceeded(
            f"The operator {what} would make too large a result.",
            detail=f"Shape {list(shape)} has {elements} elements, at most {MAX_ELEMENTS} are allowed.",
            fix="Run it on fewer samples at once, or export a smaller model.",
        )


def broadcast(what: str, *tensors: torch.Tensor) -> None:
    """Guard the result of an element-wise operator whose inputs broadcast against each other."""
    guard(joint_shape(*(tensor.shape for tensor in tensors)), what)


def joint_shape(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that several broadcast to. NumPy works it out in a fraction of the time that PyTorch takes, which is more than most
    operators do. Raises ValueError when they do not fit."""
    return np.broadcast_shapes(*(tuple(shape) for shape in shapes))


def check_index(indices: torch.Tensor, size: int, what: str) -> None:
    """An index out of range on a GPU poisons the whole process, so it is looked for first. CPU kernels check themselves."""
    if indices.is_cuda and indices.numel() and (int(indices.min()) < -size or int(indices.max()) >= size):
        raise IndexError(f"{what}: index out of range, expected -{size} to {size - 1}")
