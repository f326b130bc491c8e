"""ATen operators that view, move, select or join elements, and the ones that ask for sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from gpuworker.core.formats.pt2_call import Call, Handler
from gpuworker.core.program.values import Dim, Value


def view(c: Call) -> Value:
    name = "size" if c.has("size") else "shape"
    return c.builder.reshape(c.tensor("self"), c.dims(name))


def flatten(c: Call) -> Value:
    value = c.tensor("self")
    rank = c.rank(value)
    if rank == 0:
        return c.builder.reshape(value, [1])
    first, last = c.axis(c.integer("start_dim"), rank), c.axis(c.integer("end_dim"), rank)
    sizes = c.sizes_of(value)
    total: Dim = 1
    for size in sizes[first : last + 1]:
        total = c.builder.math("mul", total, size)
    return c.builder.reshape(value, [*sizes[:first], total, *sizes[last + 1 :]])


def unflatten(c: Call) -> Value:
    value = c.tensor("self")
    dim = c.axis(c.integer("dim"), c.rank(value))
    sizes, parts = c.sizes_of(value), c.dims("sizes")
    if -1 in parts:
        known: Dim = 1
        for part in parts:
            known = known if part == -1 else c.builder.math("mul", known, part)
        parts[parts.index(-1)] = c.builder.math("floordiv", sizes[dim], known)
    return c.builder.reshape(value, [*sizes[:dim], *parts, *sizes[dim + 1 :]])


def squeeze(c: Call) -> Value:
    value = c.tensor("self")
    rank = c.rank(value)
    sizes = c.sizes_of(value)
    chosen = {c.axis(dim, rank) for dim in c.integers("dim")} if c.has("dim") else set(range(rank))
    return c.builder.reshape(value, [size for place, size in enumerate(sizes) if not (place in chosen and size == 1)])


def unsqueeze(c: Call) -> Value:
    value = c.tensor("self")
    sizes = c.sizes_of(value)
    dim = c.axis(c.integer("dim"), len(sizes) + 1)
    return c.builder.reshape(value, [*sizes[:dim], 1, *sizes[dim:]])


def transpose(c: Call) -> Value:
    value = c.tensor("self")
    rank = c.rank(value)
    order = list(range(rank))
    one, two = c.axis(c.integer("dim0"), rank), c.axis(c.integer("dim1"), rank)
    order[one], order[two] = order[two], order[one]
    return c.builder.permute(value, order)


def turn(c: Call) -> Value:
    value = c.tensor("self")
    return c.builder.permute(value, list(reversed(range(c.rank(value)))))


def movedim(c: Call) -> Value:
    value = c.tensor("self")
    rank = c.rank(value)
    sources, targets = ([c.axis(dim, rank) for dim in c.integers(name)] for name in ("source", "destination"))
    rest = iter(dim for dim in range(rank) if dim not in sources)
    return c.builder.permute(value, [sources[targets.index(place)] if place in targets else next(rest) for place in range(rank)])


def expand(c: Call) -> Value:
    return c.emit("expand", c.tensor("self"), dims=c.dims("size"))


def expand_as(c: Call) -> Value:
    return c.emit("expand", c.tensor("self"), dims=c.sizes_of(c.tensor("other")))


def slice_(c: Call) -> Value:
    value = c.tensor("self")
    start = c.dim("start") if c.has("start") else None
    end = c.dim("end") if c.has("end") else None
    end = None if isinstance(end, int) and end >= (1 << 62) else end
    step = c.integer("step")
    if start in (None, 0) and end is None and step == 1:
        return value
    end = None if isinstance(end, int) and end >= (1 << 60) else end
    return c.emit("slice", value, dim=c.axis(c.integer("dim"), c.rank(value)), start=start or 0, end=end, step=step)


def narrow(c: Call) -> Value:
    value = c.tensor("self")
    start, length = c.dim("start"), c.dim("length")
    return c.emit("slice", value, dim=c.axis(c.integer("dim"), c.rank(value)), start=start, end=c.builder.math("add", start, length))


def select(c: Call) -> Value:
    value = c.tensor("self")
    return c.emit("select", value, dim=c.axis(c.integer("dim"), c.rank(value)), index=c.dim("index"))


def split(c: Call) -> list[Value]:
    """split.Tensor, split_with_sizes, chunk and unsafe forms: slices one after the other."""
    value = c.tensor("self")
    dim = c.axis(c.integer("dim"), c.rank(value))
    if c.has("split_sizes"):
        return _pieces(c, value, dim, c.integers("split_sizes"))
    total = c.builder.size(value, dim)
    if isinstance(total, Value):
        raise c.refuse("splitting a dimension of unknown size")
    step = c.integer("split_size") if c.has("split_size") else -(-total // c.integer("chunks"))
    return _pieces(c, value, dim, [min(step, total - start) for start in range(0, total, step)])


def _pieces(c: Call, value: Value, dim: int, sizes: Sequence[int]) -> list[Value]:
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return [c.emit("slice", value, dim=dim, start=end - size, end=end) for size, end in zip(sizes, ends, strict=True)]


def unbind(c: Call) -> list[Value]:
    value = c.tensor("self")
    dim = c.axis(c.integer("dim"), c.rank(value))
    total = c.builder.size(value, dim)
    if isinstance(total, Value):
        raise c.refuse("unbinding a dimension of unknown size")
    return [c.emit("select", value, dim=dim, index=place) for place in range(total)]


def cat(c: Call) -> Value:
    values = c.tensors("tensors")
    return c.emit("concat", *values, dim=c.axis(c.integer("dim"), c.rank(values[0])))


def stack(c: Call) -> Value:
    values = c.tensors("tensors")
    dim = c.axis(c.integer("dim"), c.rank(values[0]) + 1)
    raised = [c.builder.reshape(value, [*c.sizes_of(value)[:dim], 1, *c.sizes_of(value)[dim:]]) for value in values]
    return c.emit("concat", *raised, dim=dim)


def index(c: Call) -> Value:
    found = c.args.get("indices")
    if not isinstance(found, list):
        raise c.broken("argument indices is not a list")
    picks = {dim: item for dim, item in enumerate(found) if isinstance(item, Value)}
    if any(item.dtype in (torch.bool, torch.uint8, None) for item in picks.values()):
        raise c.refuse("indexing with a mask")
    value = c.tensor("self")
    if len(picks) == 1:
        ((dim, item),) = picks.items()
        return c.emit("take", value, item, dim=dim)
    return c.emit("index", value, *picks.values(), dims=list(picks))


def index_select(c: Call) -> Value:
    return c.emit("take", c.tensor("self"), c.tensor("index"), dim=c.axis(c.integer("dim"), c.rank(c.tensor("self"))))


def pad(c: Call) -> Value:
    value, flat = c.tensor("self"), c.dims("pad")
    rank = c.rank(value)
    before: list[Dim] = [0] * rank
    after: list[Dim] = [0] * rank
    for place in range(len(flat) // 2):
        before[rank - 1 - place], after[rank - 1 - place] = flat[2 * place], flat[2 * place + 1]
    mode = {"replicate": "edge", "circular": "wrap"}.get(str(c.args.get("mode", "constant")), str(c.args.get("mode", "constant")))
    return c.emit("pad", value, dims=[*before, *after], mode=mode, value=float(c.args.get("value") or 0.0))


def identity(c: Call) -> Value:
    if c.args.get("train"):
        raise c.refuse("training mode: call model.eval() before exporting")
    return c.tensor("input" if "input" in c.args else "self")


def to(c: Call) -> Value:
    return c.cast(c.tensor("self"), c.dtype())


def pixel_shuffle(c: Call) -> Value:
    value, block = c.tensor("self"), c.integer("upscale_factor")
    first, channels, height, width = c.sizes_of(value)
    inner = c.builder.math("floordiv", channels, block * block)
    value = c.builder.reshape(value, [first, inner, block, block, height, width])
    value = c.builder.permute(value, [0, 1, 4, 2, 5, 3])
    return c.builder.reshape(value, [first, inner, c.builder.math("mul", height, block), c.builder.math("mul", width, block)])


HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(("view.default", "reshape.default", "_unsafe_view.default"), view),
    **dict.fromkeys(("squeeze.default", "squeeze.dim", "squeeze.dims"), squeeze),
    **dict.fromkeys(("split.Tensor", "split_with_sizes.default", "chunk.default"), split),
    **dict.fromkeys(("dropout.default", "feature_dropout.default", "alpha_dropout.default", "contiguous.default"), identity),
    **dict.fromkeys(("clone.default", "detach.default", "detach_.default", "alias.default", "lift_fresh_copy.default"), identity),
    **dict.fromkeys(("to.dtype", "to.dtype_layout", "to.device", "_to_copy.default"), to),
    **dict.fromkeys(("pad.default", "constant_pad_nd.default"), pad),
    "flatten.using_ints": flatten,
    "unflatten.int": unflatten,
    "unsqueeze.default": unsqueeze,
    "transpose.int": transpose,
    "t.default": turn,
    "numpy_T.default": turn,
    "permute.default": lambda c: c.builder.permute(c.tensor("self"), c.integers("dims")),
    "movedim.int": movedim,
    "movedim.intlist": movedim,
    "expand.default": expand,
    "expand_as.default": expand_as,
    "slice.Tensor": slice_,
    "narrow.default": narrow,
    "select.int": select,
    "unbind.int": unbind,
    "cat.default": cat,
    "stack.default": stack,
    "index.Tensor": index,
    "index_select.default": index_select,
    "gather.default": lambda c: c.emit("gather", c.tensor("self"), c.tensor("index"), dim=c.integer("dim")),
    "repeat.default": lambda c: c.emit("tile", c.tensor("self"), dims=c.dims("repeats")),
    "flip.default": lambda c: c.emit("flip", c.tensor("self"), dims=c.integers("dims")),
    "roll.default": lambda c: c.emit("roll", c.tensor("self"), shifts=c.dims("shifts"), dims=c.integers("dims")),
    "tril.default": lambda c: c.emit("tril", c.tensor("self"), diagonal=c.dim("diagonal")),
    "triu.default": lambda c: c.emit("triu", c.tensor("self"), diagonal=c.dim("diagonal")),
    "pixel_shuffle.default": pixel_shuffle,
    "sym_size.int": lambda c: c.builder.size(c.tensor("self"), c.axis(c.integer("dim"), c.rank(c.tensor("self")))),
    "sym_numel.default": lambda c: c.builder.numel(c.tensor("self")),
}
