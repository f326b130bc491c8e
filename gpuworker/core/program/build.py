"""Builder: readers call it once per operator and it keeps the program canonical while it grows.

Every operator is also run on the meta device at two probe sizes per open dimension. What agrees at both is a fact of the
model: sizes become constants, reshapes take one form whatever the file format wrote, constants fold, equal computations
meet. What cannot be probed stays a run-time computation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpuworker.core.errors import LimitExceeded, UnreadableModel, UserError
from gpuworker.core.program.finish import finish
from gpuworker.core.program.model import MAX_OPS, Input, Program, clean_attributes, json_value
from gpuworker.core.program.ops import OPS
from gpuworker.core.program.ops.kind import DTYPES
from gpuworker.core.program.values import Dim, Value

PROBES = (2, 5)
_OPEN_SIZES = ((16, 19), (24, 29), (32, 37), (48, 53))
MAX_FOLDED_BYTES = 1 << 30
_ALWAYS_FOLD = 1 << 16
_SOFT_ERRORS = (RuntimeError, ValueError, IndexError, TypeError, KeyError, NotImplementedError, OverflowError)


@dataclass(slots=True)
class Step:
    """One operator being built. inputs and sizes are builder values, attributes are canonical."""

    name: str
    inputs: tuple[Value | None, ...]
    sizes: tuple[Value, ...]
    attributes: Mapping[str, Any]
    results: tuple[Value, ...]


class Builder:
    """Collects inputs, weights and operators; `finish` gives the Program and its tensors.

    fixed_batch: keep the first size of each input as declared. Otherwise it is opened, and a reshape whose constant first
    size repeats the declared batch is read as "keep the samples".
    """

    def __init__(self, inputs: Sequence[Input], *, declared_batch: int | None = None) -> None:
        self.declared = tuple(inputs)
        self.declared_batch = declared_batch
        self.steps: list[Step] = []
        self.inputs: list[Value] = []
        self._folded = 0
        self._seen: dict[str, tuple[tuple[Value, ...], object]] = {}
        for port, item in enumerate(inputs):
            probes = tuple(torch.empty(_probe_shape(item.shape, number), dtype=DTYPES[item.dtype], device="meta") for number in range(2))
            self.inputs.append(Value((probes[0], probes[1]), port=port))

    def weight(self, tensor: torch.Tensor) -> Value:
        """A constant tensor."""
        meta = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        return Value((meta, meta), constant=tensor)

    def scalar(self, number: float, dtype: torch.dtype | None = None) -> Value:
        """A 0-d constant: it takes part in type promotion as a Python number does."""
        if dtype is None:
            dtype = torch.bool if isinstance(number, bool) else torch.int64 if isinstance(number, int) else torch.float32
        return self.weight(torch.tensor(number, dtype=dtype))

    def emit(self, name: str, inputs: Sequence[Value | None] = (), attributes: Mapping[str, Any] | None = None) -> Value:
        """Add an operator with one result used. Attributes may hold sizes (`Value`) wherever the schema says dim."""
        return self.emit_many(name, inputs, attributes, 1)[0]

    def emit_many(self, name: str, inputs: Sequence[Value | None], attributes: Mapping[str, Any] | None, results: int) -> tuple[Value, ...]:
        if len(self.steps) >= MAX_OPS:
            raise LimitExceeded(
                "The model has too many operators.", detail=f"At most {MAX_OPS} are allowed.", fix="Export a smaller model."
            )
        sizes: list[Value] = []
        clean = clean_attributes(name, {key: _lift(value, sizes) for key, value in (attributes or {}).items()}, len(sizes))
        ready = tuple(inputs)
        while ready and ready[-1] is None and len(ready) > OPS[name].inputs[0]:
            ready = ready[:-1]
        same = json.dumps(
            [
                name,
                [id(v.constant) if v is not None and v.constant is not None else id(v) for v in ready],
                [id(v) for v in sizes],
                {k: json_value(v) for k, v in clean.items()},
                results,
            ],
            sort_keys=True,
        )
        if same in self._seen:
            return self._seen[same][0]
        values = self._make(name, ready, tuple(sizes), clean, results)
        # The operands are kept alive: the key holds their ids, which Python may give to others once they are gone.
        self._seen[same] = (values, (ready, sizes))
        return values

    def _make(
        self, name: str, inputs: tuple[Value | None, ...], sizes: tuple[Value, ...], attributes: Mapping[str, Any], results: int
    ) -> tuple[Value, ...]:
        probes = [self._probe(name, inputs, sizes, attributes, number) for number in range(2)]
        if not sizes and all(value is None or value.constant is not None for value in inputs):
            folded = self._fold(name, inputs, attributes, probes[0])
            if folded is not None:
                return folded
        place = len(self.steps)
        is_size = OPS[name].gives_int
        made = tuple(Value((_pick(probes[0], n), _pick(probes[1], n)), source=place, result=n, is_size=is_size) for n in range(results))
        self.steps.append(Step(name, inputs, sizes, attributes, made))
        return made

    def _probe(self, name: str, inputs: Sequence[Value | None], sizes: Sequence[Value], attributes: Mapping[str, Any], number: int) -> Any:
        """The result on the meta device, or None when it depends on data or does not fit the probe size."""
        if any(value is not None and value.probes[number] is None for value in (*inputs, *sizes)):
            return None
        fed = [None if value is None else value.probes[number] for value in inputs]
        filled = fill(attributes, [value.probes[number] for value in sizes])
        try:
            with torch.inference_mode(), torch.device("meta"):
                return OPS[name].run(fed, filled)
        except LimitExceeded:
            if not any(value is not None and value.constant is None for value in inputs):
                raise
            return None
        except _SOFT_ERRORS:
            return None

    def _fold(self, name: str, inputs: Sequence[Value | None], attributes: Mapping[str, Any], probe: Any) -> tuple[Value, ...] | None:
        """Compute now what depends on constants only, unless that would blow up the model."""
        fed = [None if value is None else value.constant for value in inputs]
        if isinstance(probe, torch.Tensor):
            size = probe.numel() * probe.element_size()
            if probe.numel() > max(_ALWAYS_FOLD, 2 * sum(x.numel() for x in fed if x is not None)) and name != "full":
                return None
            self._folded += size
            if self._folded > MAX_FOLDED_BYTES:
                raise LimitExceeded(
                    "The model's constants are too large.",
                    detail=f"More than {MAX_FOLDED_BYTES} bytes after folding.",
                    fix="Export a smaller model.",
                )
        try:
            with torch.inference_mode():
                result = OPS[name].run(fed, attributes)
        except UserError:
            raise
        except _SOFT_ERRORS as error:
            raise UnreadableModel(
                "A constant part of the model cannot be computed.",
                detail=f"Operator {name}: {str(error)[:200]}",
                fix="Export the model again.",
            ) from error
        items = result if isinstance(result, tuple) else (result,)
        return tuple(Value((item, item), is_size=True) if isinstance(item, int) else self.weight(item.contiguous()) for item in items)

    def size(self, value: Value, dim: int) -> Dim:
        """One size of a tensor: a number when it is a fact of the model."""
        shape = value.shape
        if shape is not None and shape[dim] is not None:
            return int(shape[dim])  # type: ignore[arg-type]
        return self._dim(self.emit("size", [value], {"dim": dim % len(shape) if shape is not None else dim}))

    def numel(self, value: Value) -> Dim:
        return self._dim(self.emit("numel", [value]))

    def item(self, value: Value, index: int = 0) -> Dim:
        return self._dim(self.emit("item", [value], {"index": index}))

    def math(self, kind: str, first: Dim, second: Dim) -> Dim:
        """Arithmetic on sizes: add, sub, mul, floordiv, truncdiv, mod, min, max."""
        return self._dim(self.emit("int_math", (), {"kind": kind, "first": first, "second": second}))

    @staticmethod
    def _dim(value: Value) -> Dim:
        first, second = value.probes
        return int(first) if isinstance(first, int) and first == second else value

    def reshape(self, value: Value, dims: Sequence[Dim]) -> Value:
        """The one form of every view: 0 keeps the size at its place, -1 is the only size that has to be worked out."""
        dims = self._keep_samples(value, dims)
        shape = value.shape
        result = self._view_shapes(value, dims)
        if shape is None or result is None:
            return self.emit("reshape", [value], {"dims": list(dims)})
        before, after = (probe.shape for probe in value.probes), result
        pairs = tuple(before)
        if len(shape) == len(after[0]) and all(pair == new for pair, new in zip(pairs, after, strict=True)):
            return value
        canonical: list[Dim] = []
        free = 0
        for place, (one, two) in enumerate(zip(*after, strict=True)):
            keeps = place < len(shape) and (pairs[0][place], pairs[1][place]) == (one, two)
            if one == two and not (keeps and shape[place] is None):
                canonical.append(one)
            elif keeps:
                canonical.append(0)
            else:
                free += 1
                canonical.append(-1)
        if free > 1 or any(one == two == 0 for one, two in zip(*after, strict=True)):
            return self.emit("reshape", [value], {"dims": self._explicit(value, dims, after)})
        source = self.steps[value.source] if value.source is not None and value.constant is None else None
        if source is not None and source.name == "reshape" and free == 0 and 0 not in canonical[1:]:
            origin = source.inputs[0]
            if origin is not None and (canonical[0] != 0 or _same_first(origin, value)):
                return self.reshape(origin, canonical) if origin.shape is not None else self.emit("reshape", [origin], {"dims": canonical})
        return self.emit("reshape", [value], {"dims": canonical})

    def _explicit(self, value: Value, dims: Sequence[Dim], after: Sequence[tuple[int, ...]]) -> list[Dim]:
        """Dims as given, with every size that is a fact written out."""
        return [one if one == two and dim != 0 else dim for dim, one, two in zip(dims, *after, strict=True)]

    def _keep_samples(self, value: Value, dims: Sequence[Dim]) -> list[Dim]:
        shape = value.shape
        opened = self.declared_batch is not None and shape and tuple(probe.shape[0] for probe in value.probes) == PROBES
        return [0, *dims[1:]] if opened and dims and isinstance(dims[0], int) and dims[0] == self.declared_batch else list(dims)

    def _view_shapes(self, value: Value, dims: Sequence[Dim]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        shapes: list[tuple[int, ...]] = []
        for number, probe in enumerate(value.probes):
            sizes = [dim if isinstance(dim, int) else dim.probes[number] for dim in dims]
            if probe is None or any(size is None for size in sizes):
                return None
            try:
                shapes.append(tuple(OPS["reshape"].run([probe], {"dims": sizes}).shape))
            except _SOFT_ERRORS:
                return None
        return shapes[0], shapes[1]

    def permute(self, value: Value, dims: Sequence[int]) -> Value:
        """A transposition; two in a row become one, none at all becomes nothing."""
        dims = [dim % len(dims) for dim in dims]
        source = self.steps[value.source] if value.source is not None and value.constant is None else None
        if source is not None and source.name == "permute" and source.inputs[0] is not None:
            return self.permute(source.inputs[0], [source.attributes["dims"][dim] for dim in dims])
        return value if dims == list(range(len(dims))) else self.emit("permute", [value], {"dims": dims})

    def as_tensor(self, dims: Sequence[Dim], scalar: bool, dtype: str = "int64") -> Value:
        """Sizes as an integer tensor."""
        return self.emit("ints_to_tensor", (), {"values": list(dims), "scalar": scalar, "dtype": dtype})

    def finish(self, outputs: Sequence[tuple[str, Value]], fixed_batch: int | None = None) -> tuple[Program, dict[str, torch.Tensor]]:
        """The canonical program and its tensors by content key. Declared inputs stay, used or not."""
        return finish(self.declared, self.inputs, self.steps, outputs, fixed_batch)


def fill(attributes: Mapping[str, Any], sizes: Sequence[int]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        return sizes[int(value[1:])] if isinstance(value, str) and value[:1] == "@" else value

    return {key: tuple(one(item) for item in value) if isinstance(value, tuple) else one(value) for key, value in attributes.items()}


def _probe_shape(shape: Sequence[int | None], number: int) -> list[int]:
    return [
        size if size is not None else PROBES[number] if place == 0 else _OPEN_SIZES[(place - 1) % len(_OPEN_SIZES)][number]
        for place, size in enumerate(shape)
    ]


def _lift(value: Any, sizes: list[Value]) -> Any:
    """Attribute with sizes replaced by "@k"; a size known to be constant becomes that number."""
    if isinstance(value, Value):
        if isinstance(value.probes[0], int) and value.probes[0] == value.probes[1]:
            return value.probes[0]
        if value not in sizes:
            sizes.append(value)
        return f"@{sizes.index(value)}"
    return [_lift(item, sizes) for item in value] if isinstance(value, (list, tuple)) else value


def _pick(probe: Any, number: int) -> Any:
    if isinstance(probe, tuple):
        return probe[number] if number < len(probe) else None
    return probe


def _same_first(one: Value, two: Value) -> bool:
    return all(a.dim() > 0 and b.dim() > 0 and a.shape[0] == b.shape[0] for a, b in zip(one.probes, two.probes, strict=True))
