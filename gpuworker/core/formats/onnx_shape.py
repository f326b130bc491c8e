"""ONNX operators that move, select or create elements, with size arithmetic kept symbolic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from gpuworker.core.formats.onnx_node import Ints, Item, Node, Result, dtype_name, ints_of, moving
from gpuworker.core.program.values import Dim, Value

_END = 1 << 60


def constant(n: Node) -> Result:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in n.attributes:
            value = n.attributes[name]
            if isinstance(value, torch.Tensor):
                return n.builder.weight(value)
            return n.builder.weight(torch.tensor(value, dtype=torch.float32 if "float" in name else torch.int64))
    raise n.refuse("only numeric constants are supported")


def constant_of_shape(n: Node) -> Result:
    value = n.attributes.get("value")
    filler = value if isinstance(value, torch.Tensor) else torch.zeros(1)
    dtype = str(filler.dtype)[6:]
    return n.builder.emit("full", (), {"dims": n.dims(0), "value": float(filler.reshape(-1)[0]), "dtype": dtype})


def shape(n: Node) -> Result:
    value = n.tensor()
    rank = n.rank(value)
    start, end, _ = slice(n.integer("start", 0), n.attributes.get("end"), 1).indices(rank)
    return Ints(tuple(n.builder.size(value, dim) for dim in range(start, end)))


def size(n: Node) -> Result:
    if isinstance(n.item(0), Ints):
        return Ints((len(n.dims(0)),), True)
    return Ints((n.builder.numel(n.tensor()),), True)


def reshape(n: Node) -> Result:
    dims = n.dims(1) if n.has(1) else list(n.int_list("shape"))
    if n.integer("allowzero", 0) and 0 in dims:
        raise n.refuse("a literal size 0 (allowzero)")
    known = ints_of(n.item(0)) if moving(n.item(0)) else None
    if known is not None and dims in ([-1], [len(known.values)], []):
        return Ints(known.values, not dims)
    return n.builder.reshape(n.tensor(), dims)


def flatten(n: Node) -> Result:
    value = n.tensor()
    rank, axis = value.rank, n.integer("axis", 1)
    if rank is None:
        return n.builder.emit("flatten", [value], {"dim": axis})
    axis = axis + rank if axis < 0 else axis
    sizes = n.shape(value)
    before, after = sizes[:axis], sizes[axis:]
    if axis == 1:
        return n.builder.reshape(value, [0, -1 if None in after else math.prod(size for size in after if size is not None)])
    if None not in after:
        return n.builder.reshape(value, [-1, math.prod(size for size in after if size is not None)])
    if None not in before:
        return n.builder.reshape(value, [math.prod(size for size in before if size is not None), -1])
    return n.builder.emit("flatten", [value], {"dim": axis})


def _axes(n: Node, place: int) -> list[int] | None:
    if n.has(place):
        return n.ints(place, "the list of axes")
    return n.int_list("axes") if "axes" in n.attributes else None


def squeeze(n: Node) -> Result:
    axes = _axes(n, 1)
    item = n.item(0)
    if isinstance(item, Ints) and len(item.values) == 1 and axes in (None, [0], [-1]):
        return Ints(item.values, True)
    value = n.tensor()
    sizes = value.shape
    if sizes is None:
        return n.builder.emit("squeeze", [value], {"dims": axes})
    drop = {n.axis(axis, len(sizes)) for axis in axes} if axes is not None else {place for place, size in enumerate(sizes) if size == 1}
    return n.builder.reshape(value, [n.builder.size(value, place) for place in range(len(sizes)) if place not in drop])


def unsqueeze(n: Node) -> Result:
    axes = _axes(n, 1) or []
    item = n.item(0)
    if isinstance(item, Ints) and item.scalar and axes in ([0], [-1]):
        return Ints(item.values)
    value = n.tensor()
    if value.rank is None:
        return n.builder.emit("unsqueeze", [value], {"dims": axes})
    rank = value.rank + len(axes)
    new = {n.axis(axis, rank) for axis in axes}
    old = iter(range(value.rank))
    return n.builder.reshape(value, [1 if place in new else n.builder.size(value, next(old)) for place in range(rank)])


def transpose(n: Node) -> Result:
    value = n.tensor()
    rank = n.rank(value)
    return n.builder.permute(value, n.int_list("perm", list(reversed(range(rank)))))


def concat(n: Node) -> Result:
    items = [n.item(place) for place in range(len(n.inputs))]
    lists = [ints_of(item) for item in items]
    if moving(*items) and all(item is not None and not item.scalar for item in lists):
        return Ints(tuple(dim for item in lists if item is not None for dim in item.values))
    values = [n.as_value(item) for item in items]
    return values[0] if len(values) == 1 else n.builder.emit("concat", values, {"dim": n.axis(n.integer("axis"), n.rank(values[0]))})


def slice_(n: Node) -> Result:
    if n.has(1):
        starts, ends = n.dims(1), n.dims(2)
        axes = n.ints(3, "the list of axes") if n.has(3) else list(range(len(starts)))
        steps = n.ints(4, "the list of steps") if n.has(4) else [1] * len(starts)
    else:
        starts, ends = list(n.int_list("starts")), list(n.int_list("ends"))
        axes, steps = n.int_list("axes", list(range(len(starts)))), [1] * len(starts)
    item = n.item(0)
    if isinstance(item, Ints) and len(starts) == 1 and not any(isinstance(dim, Value) for dim in (*starts, *ends)):
        return Ints(item.values[slice(_bound(starts[0]), _bound(ends[0], steps[0] < 0), steps[0])])
    value = n.tensor()
    rank = n.rank(value)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        attributes = {"dim": n.axis(axis, rank), "start": _bound(start), "end": _bound(end, step < 0), "step": step}
        if attributes["start"] in (0, None) and attributes["end"] is None and step == 1:
            continue
        value = n.builder.emit("slice", [value], attributes)
    return value


def _bound(dim: Dim, backwards: bool = False) -> Any:
    """A bound past any size means "to the end", which Python writes as None."""
    if isinstance(dim, int) and (dim > _END or dim >= (1 << 31) - 1 or (backwards and dim <= -(1 << 31) + 1)):
        return None
    return dim


def split(n: Node) -> Result:
    value = n.tensor()
    axis = n.axis(n.integer("axis", 0), n.rank(value))
    sizes = n.ints(1, "the list of sizes") if n.has(1) else n.int_list("split", [])
    if not sizes:
        total = n.plain(n.builder.size(value, axis), "the size to split")
        part = -(-total // n.outputs)
        sizes = [min(part, total - part * place) for place in range(n.outputs)]
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return [n.builder.emit("slice", [value], {"dim": axis, "start": end - size, "end": end}) for size, end in zip(sizes, ends, strict=True)]


def gather(n: Node) -> Result:
    item, picks = n.item(0), ints_of(n.item(1))
    if isinstance(item, Ints) and picks is not None and not moving(picks):
        return Ints(tuple(item.values[n.plain(place, "index")] for place in picks.values), picks.scalar)
    value = n.tensor()
    axis = n.axis(n.integer("axis", 0), n.rank(value))
    if picks is not None and picks.scalar:
        return n.builder.emit("select", [value], {"dim": axis, "index": picks.values[0]})
    if axis == 0 and value.rank == 2 and value.constant is not None:
        return n.builder.emit("embedding", [value, n.tensor(1)])
    return n.builder.emit("take", [value, n.tensor(1)], {"dim": axis})


def expand(n: Node) -> Result:
    return n.builder.emit("expand", [n.tensor()], {"dims": n.dims(1)})


def tile(n: Node) -> Result:
    return n.builder.emit("tile", [n.tensor()], {"dims": n.dims(1)})


def pad(n: Node) -> Result:
    value = n.tensor()
    pads: list[Dim] = n.dims(1) if n.has(1) else list(n.int_list("pads", n.attributes.get("paddings")))
    filler = float(n.constant(2, "the padding value").reshape(-1)[0]) if n.has(2) else n.real("value", 0.0)
    if n.has(3):
        axes = [n.axis(axis, n.rank(value)) for axis in n.ints(3, "the list of axes")]
        whole: list[Dim] = [0] * (2 * n.rank(value))
        for place, axis in enumerate(axes):
            whole[axis], whole[axis + n.rank(value)] = pads[place], pads[place + len(axes)]
        pads = whole
    if not any(isinstance(size, Value) or size for size in pads):
        return value
    return n.builder.emit("pad", [value], {"dims": pads, "mode": n.text("mode", "constant"), "value": filler})


def range_(n: Node) -> Result:
    ends = [n.dims(place)[0] for place in range(3)] if all(ints_of(n.item(place)) for place in range(3)) else None
    if ends is None:
        return n.builder.weight(torch.arange(*(n.constant(place, "a bound").item() for place in range(3))))
    return n.builder.emit("arange", (), {"start": ends[0], "end": ends[1], "step": ends[2]})


def cast(n: Node) -> Result:
    to = n.dtype(n.integer("to"))
    item = n.item(0)
    if isinstance(item, Ints) and to in ("int64", "int32"):
        return item
    return cast_to(n, n.tensor(), to)


def cast_to(n: Node, value: Value, to: str) -> Value:
    return value if dtype_name(value) == to else n.builder.emit("cast", [value], {"dtype": to})


def one_hot(n: Node) -> Result:
    indices, depth, values = n.tensor(0), n.dims(1)[0], n.constant(2, "the pair of values")
    hot = n.builder.emit("one_hot", [indices], {"size": depth})
    rank = n.rank(hot)
    axis = n.axis(n.integer("axis", -1), rank)
    order = list(range(rank - 1))
    hot = n.builder.permute(hot, [*order[:axis], rank - 1, *order[axis:]])
    off, on = (n.builder.weight(value) for value in values)
    return n.builder.emit("where", [hot, on, off])


def depth_to_space(n: Node) -> Result:
    value, block = n.tensor(), n.integer("blocksize")
    _, channels, height, width = (n.builder.size(value, place) for place in range(4))
    inner = n.plain(channels, "the number of channels") // (block * block)
    column_first = n.text("mode", "DCR") == "DCR"
    parts: list[Dim] = [block, block, inner] if column_first else [inner, block, block]
    value = n.builder.reshape(value, [n.builder.size(value, 0), *parts, height, width])
    value = n.builder.permute(value, [0, 3, 4, 1, 5, 2] if column_first else [0, 1, 4, 2, 5, 3])
    times = [n.builder.math("mul", size, block) for size in (height, width)]
    return n.builder.reshape(value, [n.builder.size(value, 0), inner, *times])


def space_to_depth(n: Node) -> Result:
    value, block = n.tensor(), n.integer("blocksize")
    _, channels, height, width = (n.builder.size(value, place) for place in range(4))
    high, wide = (n.builder.math("floordiv", size, block) for size in (height, width))
    value = n.builder.reshape(value, [n.builder.size(value, 0), channels, high, block, wide, block])
    value = n.builder.permute(value, [0, 3, 5, 1, 2, 4])
    return n.builder.reshape(value, [n.builder.size(value, 0), n.builder.math("mul", channels, block * block), high, wide])


def trilu(n: Node) -> Result:
    diagonal: Dim = n.dims(1)[0] if n.has(1) else 0
    return n.builder.emit("triu" if n.integer("upper", 1) else "tril", [n.tensor()], {"diagonal": diagonal})


def gather_nd(n: Node) -> Result:
    if n.integer("batch_dims", 0):
        raise n.refuse("batch_dims other than 0")
    return n.builder.emit("gather_nd", [n.tensor(0), n.tensor(1)])


def scatter_elements(n: Node) -> Result:
    reduction = n.text("reduction", "none")
    if reduction not in ("none", "add"):
        raise n.refuse(f"reduction {reduction}")
    values = [n.tensor(place) for place in range(3)]
    return n.builder.emit("scatter", values, {"dim": n.axis(n.integer("axis", 0), n.rank(values[0])), "add": reduction == "add"})


def identity(n: Node) -> Result:
    return n.item(0)


_INT_MATH = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "truncdiv", "Mod": "mod", "Min": "min", "Max": "max"}


def int_math(n: Node) -> Ints | None:
    """Arithmetic between size lists, or None when the node is not about sizes."""
    items = [n.item(place) for place in range(len(n.inputs))]
    lists = [ints_of(item) for item in items]
    if len(items) != 2 or not moving(*items) or lists[0] is None or lists[1] is None:
        return None
    first, second = _stretch(lists[0], lists[1])
    values = tuple(n.builder.math(_INT_MATH[n.op], one, two) for one, two in zip(first, second, strict=True))
    return Ints(values, lists[0].scalar and lists[1].scalar)


def _stretch(first: Ints, second: Ints) -> tuple[Sequence[Dim], Sequence[Dim]]:
    length = max(len(first.values), len(second.values))
    return tuple(item.values * length if len(item.values) == 1 else item.values for item in (first, second))  # type: ignore[return-value]


def reduce_prod_of_sizes(n: Node) -> Item | None:
    item = n.item(0)
    if not isinstance(item, Ints) or not moving(item):
        return None
    total: Dim = 1
    for dim in item.values:
        total = n.builder.math("mul", total, dim)
    return Ints((total,), not n.integer("keepdims", 1))


HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Shape": shape,
    "Size": size,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Concat": concat,
    "Slice": slice_,
    "Split": split,
    "Gather": gather,
    "GatherElements": lambda n: n.builder.emit(
        "gather", [n.tensor(0), n.tensor(1)], {"dim": n.axis(n.integer("axis", 0), n.rank(n.tensor(0)))}
    ),
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "Expand": expand,
    "Tile": tile,
    "Pad": pad,
    "Range": range_,
    "Cast": cast,
    "CastLike": lambda n: cast_to(n, n.tensor(0), dtype_name(n.tensor(1)) or "float32"),
    "OneHot": one_hot,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Trilu": trilu,
    "Identity": identity,
    "Dropout": identity,
}
