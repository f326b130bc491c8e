"""Program: a model as a list of operators over tensors. Plain data, checked in full whenever it is built or read.

Values are named by where they come from: "x0" is the first input, "w3" the fourth weight, "v7.1" the second result of the
eighth operator. Weights are named by content key only; their bytes stand in the tensor store.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gpuworker.core.errors import LimitExceeded, UnreadableModel
from gpuworker.core.program.ops import OPS, OPSET
from gpuworker.core.program.ops.kind import DTYPES, AttrValue

MAX_OPS = 20_000
MAX_WEIGHTS = 20_000
MAX_PORTS = 64
MAX_NAME = 400
MAX_RANK = 12
MAX_SIZE = 1 << 40
MAX_JSON = 64 << 20
_KEY = re.compile(r"[0-9a-f]{64}")
_VALUE = re.compile(r"([xwv])([0-9]{1,6})(?:\.([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class Input:
    """A named input. shape: None where any size goes; the first size is the samples."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor by content: key is the SHA-256 of dtype, shape and little-endian bytes."""

    key: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Op:
    """One operator. inputs: tensors (None = left out). sizes: run-time sizes that attributes name as "@k"."""

    name: str
    inputs: tuple[str | None, ...]
    attributes: Mapping[str, AttrValue]
    sizes: tuple[str, ...] = ()
    outputs: int = 1


@dataclass(frozen=True, slots=True)
class Output:
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Program:
    """A checked model. fixed_batch: the only number of samples it can take at once, or None for any number."""

    inputs: tuple[Input, ...]
    weights: tuple[Weight, ...]
    ops: tuple[Op, ...]
    outputs: tuple[Output, ...]
    fixed_batch: int | None = None
    opset: int = field(default=OPSET)

    def __post_init__(self) -> None:
        _check(self)

    def to_json(self) -> dict[str, Any]:
        """JSON-safe; infinities are written as text, so that any strict JSON reader takes it."""
        return {
            "opset": self.opset,
            "fixed_batch": self.fixed_batch,
            "inputs": [{"name": item.name, "dtype": item.dtype, "shape": list(item.shape)} for item in self.inputs],
            "weights": [{"key": item.key, "dtype": item.dtype, "shape": list(item.shape)} for item in self.weights],
            "ops": [
                {
                    "op": op.name,
                    "inputs": list(op.inputs),
                    "sizes": list(op.sizes),
                    "outputs": op.outputs,
                    "attributes": {name: json_value(op.attributes[name]) for name in sorted(op.attributes)},
                }
                for op in self.ops
            ],
            "outputs": [{"name": item.name, "value": item.value} for item in self.outputs],
        }

    @staticmethod
    def from_json(document: object) -> Program:
        """Read what `to_json` wrote (or its text). Raises UnreadableModel or LimitExceeded; unknown keys are errors."""
        if isinstance(document, (str, bytes)):
            if len(document) > MAX_JSON:
                raise _limit("bytes of JSON", len(document), MAX_JSON)
            try:
                document = json.loads(document)
            except (ValueError, RecursionError) as error:
                raise _bad("not JSON", str(error)[:200]) from error
        top = _record(document, "the program", ("opset", "fixed_batch", "inputs", "weights", "ops", "outputs"))
        _count(top)
        if top["opset"] != OPSET or isinstance(top["opset"], bool):
            raise _bad("another operator set", f"expected version {OPSET}, found {str(top['opset'])[:40]}")
        return Program(
            tuple(_input(item) for item in top["inputs"]),
            tuple(_weight(item) for item in top["weights"]),
            tuple(_op(item, place) for place, item in enumerate(top["ops"])),
            tuple(_output(item) for item in top["outputs"]),
            top["fixed_batch"],
        )


def json_value(value: AttrValue) -> Any:
    """An attribute as JSON: tuples become lists, non-finite floats become text."""
    if isinstance(value, tuple):
        return [json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def parse_value(value: str) -> tuple[str, int, int]:
    """("x" | "w" | "v", index, result). Raises UnreadableModel for anything else."""
    match = _VALUE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _bad("a bad value name", str(value)[:60])
    return match[1], int(match[2]), int(match[3] or 0)


def _bad(what: str, detail: str) -> UnreadableModel:
    return UnreadableModel(f"The stored program has {what}.", detail=detail, fix="Upload the model again.")


def _limit(what: str, found: int, allowed: int) -> LimitExceeded:
    return LimitExceeded(
        f"The model has too many {what}.", detail=f"Found {found}, at most {allowed} are allowed.", fix="Export a smaller model."
    )


def _record(document: object, what: str, keys: Sequence[str]) -> dict[str, Any]:
    if not isinstance(document, dict) or set(document) != set(keys):
        found = sorted(str(key)[:40] for key in document)[:12] if isinstance(document, dict) else type(document).__name__
        raise _bad(f"a malformed entry ({what})", f"Expected the keys {sorted(keys)}, found {found}.")
    return document


def _count(top: dict[str, Any]) -> None:
    for key, most in (("inputs", MAX_PORTS), ("outputs", MAX_PORTS), ("weights", MAX_WEIGHTS), ("ops", MAX_OPS)):
        if not isinstance(top[key], list):
            raise _bad(f"a malformed entry ({key})", "Expected a list.")
        if len(top[key]) > most:
            raise _limit(key, len(top[key]), most)


def _shape(value: object) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _bad("a malformed shape", str(value)[:60])
    return tuple(value)


def _input(document: object) -> Input:
    item = _record(document, "an input", ("name", "dtype", "shape"))
    return Input(item["name"], item["dtype"], _shape(item["shape"]))


def _weight(document: object) -> Weight:
    item = _record(document, "a weight", ("key", "dtype", "shape"))
    return Weight(item["key"], item["dtype"], _shape(item["shape"]))


def _op(document: object, place: int) -> Op:
    item = _record(document, f"operator {place}", ("op", "inputs", "sizes", "outputs", "attributes"))
    if not isinstance(item["inputs"], list) or not isinstance(item["sizes"], list) or not isinstance(item["attributes"], dict):
        raise _bad("a malformed operator", f"operator {place}")
    return Op(
        item["op"],
        tuple(item["inputs"]),
        clean_attributes(item["op"], item["attributes"], len(item["sizes"])),
        tuple(item["sizes"]),
        item["outputs"],
    )


def _output(document: object) -> Output:
    item = _record(document, "an output", ("name", "value"))
    return Output(item["name"], item["value"])


def clean_attributes(name: str, attributes: Mapping[str, object], sizes: int) -> Mapping[str, AttrValue]:
    """Every attribute of the operator, canonical, defaults filled in. Raises UnreadableModel for unknown or bad ones."""
    spec = OPS.get(name) if isinstance(name, str) else None
    if spec is None:
        raise _bad("an unknown operator", str(name)[:60])
    unknown = set(attributes) - set(spec.attributes)
    if unknown:
        raise _bad("an unknown attribute", f"operator {name}: {sorted(str(key)[:40] for key in unknown)[:5]}")
    clean: dict[str, AttrValue] = {}
    for key, attr in spec.attributes.items():
        if key not in attributes:
            if attr.required:
                raise _bad("a missing attribute", f"operator {name} needs {key}")
            clean[key] = attr.default
            continue
        try:
            clean[key] = attr.clean(attributes[key], sizes)
        except ValueError as error:
            raise _bad("a bad attribute", f"operator {name}, {key}: {error}") from error
    return MappingProxyType(clean)


def _check(program: Program) -> None:
    """All relations a program must satisfy: caps, names, types, and that every value exists before it is used."""
    for what, items, most in (
        ("inputs", program.inputs, MAX_PORTS),
        ("outputs", program.outputs, MAX_PORTS),
        ("weights", program.weights, MAX_WEIGHTS),
        ("operators", program.ops, MAX_OPS),
    ):
        if len(items) > most:
            raise _limit(what, len(items), most)
    if not program.outputs:
        raise _bad("no output", "At least one is needed.")
    for ports in (program.inputs, program.outputs):
        names = [port.name for port in ports]
        if any(not isinstance(name, str) or not 0 < len(name) <= MAX_NAME for name in names) or len(set(names)) != len(names):
            raise _bad("a bad name", f"Input and output names are unique, of 1 to {MAX_NAME} characters.")
    tensors: tuple[Input | Weight, ...] = (*program.inputs, *program.weights)
    for item in tensors:
        _check_tensor(item)
    if len({weight.key for weight in program.weights}) != len(program.weights):
        raise _bad("a repeated weight", "Every weight is listed once.")
    batch = program.fixed_batch
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or not 0 < batch <= MAX_SIZE):
        raise _bad("a bad fixed batch", str(batch)[:40])
    for place, op in enumerate(program.ops):
        _check_op(program, place, op)
    for output in program.outputs:
        _check_value(program, len(program.ops), output.value, is_int=False)


def _check_tensor(item: Input | Weight) -> None:
    if not isinstance(item.dtype, str) or item.dtype not in DTYPES:
        raise _bad("an unknown dtype", str(item.dtype)[:40])
    open_size = isinstance(item, Input)
    fits = all(
        (size is None and open_size) or (isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= MAX_SIZE)
        for size in item.shape
    )
    if not fits or len(item.shape) > MAX_RANK:
        raise _bad("a bad shape", str(item.shape)[:120])
    if isinstance(item, Weight) and (not isinstance(item.key, str) or _KEY.fullmatch(item.key) is None):
        raise _bad("a bad weight key", str(item.key)[:80])


def _check_op(program: Program, place: int, op: Op) -> None:
    spec = OPS.get(op.name) if isinstance(op.name, str) else None
    if spec is None:
        raise _bad("an unknown operator", f"operator {place}: {str(op.name)[:60]}")
    if not spec.inputs[0] <= len(op.inputs) <= spec.inputs[1]:
        raise _bad(
            "an operator with the wrong number of inputs", f"operator {place} ({op.name}): expected {spec.inputs}, found {len(op.inputs)}"
        )
    if isinstance(op.outputs, bool) or not isinstance(op.outputs, int) or not spec.outputs[0] <= op.outputs <= spec.outputs[1]:
        raise _bad("an operator with the wrong number of results", f"operator {place} ({op.name})")
    if clean_attributes(op.name, op.attributes, len(op.sizes)) != op.attributes:
        raise _bad("attributes that are not canonical", f"operator {place} ({op.name})")
    if len(op.sizes) > MAX_PORTS:
        raise _limit("sizes of one operator", len(op.sizes), MAX_PORTS)
    for value in op.inputs:
        if value is not None:
            _check_value(program, place, value, is_int=False)
    for value in op.sizes:
        _check_value(program, place, value, is_int=True)


def _check_value(program: Program, place: int, value: str, is_int: bool) -> None:
    kind, index, result = parse_value(value)
    if kind == "v":
        ok = index < place and result < program.ops[index].outputs and OPS[program.ops[index].name].gives_int == is_int
    else:
        ok = not is_int and result == 0 and index < len(program.inputs if kind == "x" else program.weights)
    if not ok:
        raise _bad("a value used before it exists, or of the wrong kind", f"operator {place}: {value}")
