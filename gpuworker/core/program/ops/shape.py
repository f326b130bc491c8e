"""Operators that move, copy, select or create elements, and the ones that compute sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from gpuworker.core.program.ops.kind import DTYPES, MAX_LIST, Attr, Attributes, OpSpec, check_index, guard, joint_shape

Tensor = torch.Tensor


def reshape(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """0 keeps the size at the same place (a literal 0 is `empty`), -1 takes what is left."""
    x: Tensor = inputs[0]
    return x.reshape([x.shape[place] if size == 0 else size for place, size in enumerate(a["dims"])])


def squeeze(inputs: Sequence[Any], a: Attributes) -> Tensor:
    return torch.squeeze(inputs[0], a["dims"]) if a["dims"] is not None else torch.squeeze(inputs[0])


def unsqueeze(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x: Tensor = inputs[0]
    rank = x.dim() + len(a["dims"])
    for dim in sorted(dim % rank for dim in a["dims"]):
        x = x.unsqueeze(dim)
    return x


def flatten(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """A matrix: sizes before `dim` multiplied, and the rest multiplied."""
    x: Tensor = inputs[0]
    dim = a["dim"] % x.dim() if a["dim"] < 0 else a["dim"]
    return x.reshape(math.prod(x.shape[:dim]), math.prod(x.shape[dim:]))


def expand(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """Broadcast both ways: a size 1 or -1 asked for keeps the size of the input."""
    x: Tensor = inputs[0]
    asked = [1 if size == -1 else size for size in a["dims"]]
    shape = joint_shape(x.shape, asked)
    guard(shape, "expand")
    return x.expand(shape)


def tile(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x: Tensor = inputs[0]
    repeats = a["dims"]
    guard([*repeats, *x.shape], "tile")
    return x.repeat(*repeats) if repeats else x


def concat(inputs: Sequence[Any], a: Attributes) -> Tensor:
    guard((sum(x.numel() for x in inputs),), "concat")
    dtype = inputs[0].dtype
    for x in inputs[1:]:
        dtype = torch.promote_types(dtype, x.dtype)
    return torch.cat([x.to(dtype) for x in inputs], a["dim"])


def slice_(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """As Python: x[start:end:step] along one dimension, negative steps included."""
    x: Tensor = inputs[0]
    dim, size = a["dim"] % x.dim(), x.shape[a["dim"]]
    start, stop, step = slice(a["start"], a["end"], a["step"]).indices(size)
    if step > 0:
        return x[(slice(None),) * dim + (slice(start, max(stop, start), step),)]
    picks = torch.arange(start, stop, step, device=x.device) if start > stop else torch.empty(0, dtype=torch.int64, device=x.device)
    return torch.index_select(x, dim, picks)


def pad(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """dims: sizes to add before each dimension, then after each; negative ones cut."""
    x: Tensor = inputs[0]
    rank = x.dim()
    before, after = a["dims"][:rank], a["dims"][rank:]
    if len(before) != rank or len(after) != rank:
        raise ValueError(f"pad: expected {2 * rank} sizes, found {len(a['dims'])}")
    guard([size + low + high for size, low, high in zip(x.shape, before, after, strict=True)], "pad")
    if a["mode"] == "constant":
        flat = [size for pair in zip(reversed(before), reversed(after), strict=True) for size in pair]
        return F.pad(x, flat, value=a["value"] if x.is_floating_point() else int(a["value"]))
    for dim, (low, high) in enumerate(zip(before, after, strict=True)):
        if low or high:
            x = torch.index_select(x, dim, _padded_index(x.shape[dim], low, high, a["mode"], x.device))
    return x


def _padded_index(size: int, low: int, high: int, mode: str, device: torch.device) -> Tensor:
    places = torch.arange(-low, size + high, device=device)
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return torch.remainder(places, size)
    period = max(2 * (size - 1), 1)
    folded = torch.remainder(places, period)
    return torch.where(folded < size, folded, period - folded)


def take(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """x with dimension `dim` replaced by the shape of the indices; negative indices count from the end."""
    x, indices = inputs
    dim = a["dim"] % x.dim()
    shape = (*x.shape[:dim], *indices.shape, *x.shape[dim + 1 :])
    guard(shape, "take")
    check_index(indices, x.shape[dim], "take")
    flat = indices.reshape(-1).to(torch.int64)
    flat = torch.where(flat < 0, flat + x.shape[dim], flat)
    return torch.index_select(x, dim, flat).reshape(shape)


def gather(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x, indices = inputs
    size = x.shape[a["dim"]]
    check_index(indices, size, "gather")
    indices = indices.to(torch.int64)
    return torch.gather(x, a["dim"], torch.where(indices < 0, indices + size, indices))


def gather_nd(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x, indices = inputs
    depth = indices.shape[-1]
    guard((*indices.shape[:-1], *x.shape[depth:]), "gather_nd")
    columns = tuple(indices[..., place].to(torch.int64) for place in range(depth))
    for place, column in enumerate(columns):
        check_index(column, x.shape[place], "gather_nd")
    return torch.Tensor.__getitem__(x, columns)


def index(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """Advanced indexing: the k-th index tensor applies to dimension dims[k]."""
    x: Tensor = inputs[0]
    parts: list[Any] = [slice(None)] * x.dim()
    for dim, indices in zip(a["dims"], inputs[1:], strict=True):
        check_index(indices, x.shape[dim], "index")
        parts[dim] = indices
    rest = [size for dim, size in enumerate(x.shape) if dim not in a["dims"]]
    guard((*joint_shape(*(i.shape for i in inputs[1:])), *rest), "index")
    return torch.Tensor.__getitem__(x, tuple(parts))


def scatter(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x, indices, values = inputs
    check_index(indices, x.shape[a["dim"]], "scatter")
    indices = indices.to(torch.int64)
    indices = torch.where(indices < 0, indices + x.shape[a["dim"]], indices)
    result: Tensor = x.scatter_add(a["dim"], indices, values) if a["add"] else x.scatter(a["dim"], indices, values)
    return result


def one_hot(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """1 where the new dimension's place equals the index (float32), 0 elsewhere."""
    indices: Tensor = inputs[0]
    guard((*indices.shape, a["size"]), "one_hot")
    places = torch.arange(a["size"], device=indices.device)
    whole = torch.where(indices < 0, indices + a["size"], indices)
    return (whole.unsqueeze(-1) == places).to(torch.float32)


def full(inputs: Sequence[Any], a: Attributes) -> Tensor:
    guard(a["dims"], "full")
    return torch.full(a["dims"], a["value"], dtype=DTYPES[a["dtype"]])


def arange(inputs: Sequence[Any], a: Attributes) -> Tensor:
    if a["step"] == 0:
        raise ValueError("arange: the step is 0")
    guard((max(0, -(-(a["end"] - a["start"]) // a["step"])),), "arange")
    return torch.arange(a["start"], a["end"], a["step"], dtype=DTYPES[a["dtype"]])


def ints_to_tensor(inputs: Sequence[Any], a: Attributes) -> Tensor:
    values = a["values"]
    return torch.tensor(values[0] if a["scalar"] else list(values), dtype=DTYPES[a["dtype"]])


def item(inputs: Sequence[Any], a: Attributes) -> int:
    """One element of a small integer tensor as a size."""
    x: Tensor = inputs[0]
    if x.numel() > MAX_LIST:
        raise ValueError(f"item: expected at most {MAX_LIST} elements, found {x.numel()}")
    return int(x.reshape(-1)[a["index"]].item())


def int_math(inputs: Sequence[Any], a: Attributes) -> int:
    first, second, kind = a["first"], a["second"], a["kind"]
    if kind in ("floordiv", "mod", "truncdiv") and second == 0:
        raise ValueError("int_math: division by zero")
    results: dict[str, Callable[[], int]] = {
        "add": lambda: first + second,
        "sub": lambda: first - second,
        "mul": lambda: first * second,
        "floordiv": lambda: first // second,
        "truncdiv": lambda: int(math.copysign(abs(first) // abs(second), first * second)) if first else 0,
        "mod": lambda: first % second,
        "min": lambda: min(first, second),
        "max": lambda: max(first, second),
    }
    value = int(results[kind]())
    if abs(value) >= 1 << 62:
        raise ValueError("int_math: a size is out of range")
    return value


_DIMS = Attr("dims", required=True)
_DIM = Attr("int", required=True)
_KINDS = ("add", "sub", "mul", "floordiv", "truncdiv", "mod", "min", "max")
_DTYPE = Attr("text", "int64", choices=tuple(DTYPES))
ALL: tuple[OpSpec, ...] = (
    OpSpec("reshape", reshape, (1, 1), {"dims": _DIMS}),
    OpSpec("squeeze", squeeze, (1, 1), {"dims": Attr("ints", optional=True)}),
    OpSpec("unsqueeze", unsqueeze, (1, 1), {"dims": Attr("ints", required=True)}),
    OpSpec("flatten", flatten, (1, 1), {"dim": Attr("int", 1)}),
    OpSpec("permute", lambda i, a: i[0].permute(a["dims"]), (1, 1), {"dims": Attr("ints", required=True)}),
    OpSpec("expand", expand, (1, 1), {"dims": _DIMS}),
    OpSpec("tile", tile, (1, 1), {"dims": _DIMS}),
    OpSpec("concat", concat, (1, 1024), {"dim": _DIM}),
    OpSpec(
        "slice",
        slice_,
        (1, 1),
        {"dim": _DIM, "start": Attr("dim", optional=True), "end": Attr("dim", optional=True), "step": Attr("int", 1)},
    ),
    OpSpec("select", lambda i, a: i[0].select(a["dim"], a["index"]), (1, 1), {"dim": _DIM, "index": Attr("dim", required=True)}),
    OpSpec("flip", lambda i, a: i[0].flip(a["dims"]), (1, 1), {"dims": Attr("ints", required=True)}),
    OpSpec("roll", lambda i, a: torch.roll(i[0], a["shifts"], a["dims"]), (1, 1), {"shifts": _DIMS, "dims": Attr("ints", required=True)}),
    OpSpec(
        "pad",
        pad,
        (1, 1),
        {"dims": _DIMS, "mode": Attr("text", "constant", choices=("constant", "reflect", "edge", "wrap")), "value": Attr("float", 0.0)},
    ),
    OpSpec("take", take, (2, 2), {"dim": Attr("int", 0)}),
    OpSpec("gather", gather, (2, 2), {"dim": _DIM}),
    OpSpec("gather_nd", gather_nd, (2, 2)),
    OpSpec("index", index, (2, 9), {"dims": Attr("ints", required=True)}),
    OpSpec("scatter", scatter, (3, 3), {"dim": _DIM, "add": Attr("bool", False)}),
    OpSpec("one_hot", one_hot, (1, 1), {"size": Attr("dim", required=True)}),
    OpSpec("tril", lambda i, a: torch.tril(i[0], a["diagonal"]), (1, 1), {"diagonal": Attr("dim", 0)}),
    OpSpec("triu", lambda i, a: torch.triu(i[0], a["diagonal"]), (1, 1), {"diagonal": Attr("dim", 0)}),
    OpSpec("full", full, (0, 0), {"dims": _DIMS, "value": Attr("float", 0.0), "dtype": _DTYPE}),
    OpSpec("arange", arange, (0, 0), {"start": Attr("dim", 0), "end": Attr("dim", required=True), "step": Attr("dim", 1), "dtype": _DTYPE}),
    OpSpec("ints_to_tensor", ints_to_tensor, (0, 0), {"values": _DIMS, "scalar": Attr("bool", False), "dtype": _DTYPE}),
    OpSpec("size", lambda i, a: int(i[0].shape[a["dim"]]), (1, 1), {"dim": _DIM}, gives_int=True),
    OpSpec("numel", lambda i, a: int(i[0].numel()), (1, 1), gives_int=True),
    OpSpec("item", item, (1, 1), {"index": Attr("int", 0)}, gives_int=True),
    OpSpec(
        "int_math",
        int_math,
        (0, 0),
        {"kind": Attr("text", required=True, choices=_KINDS), "first": Attr("dim", required=True), "second": Attr("dim", required=True)},
        gives_int=True,
    ),
)
