"""Merge rules of layers. Same input, other weights: one product with the outputs side by side. Other inputs, same weights: the
members become samples. Both differ: a batched product, or a convolution in groups."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from gpuworker.core.engine.kernels import Form, normalised, packed_call, packed_form
from gpuworker.core.engine.layouts import split, to_rows, to_stack, to_wide
from gpuworker.core.engine.merge_call import Call, MergedKernel
from gpuworker.core.engine.merged_recurrent import recurrent
from gpuworker.core.engine.operators import ACTIVATIONS, run_op

Tensor = torch.Tensor
__all__ = ["attention", "channel_norm", "conv", "embedding", "layer_norm", "linear", "pool", "recurrent"]


def linear(call: Call) -> MergedKernel | None:
    x_lie, weight, bias = call.lie(0), call.lie(1), call.lie(2)
    act, g = ACTIVATIONS.get(call.attributes.get("act", "")), call.g
    if x_lie == "own" or weight not in ("own", "common") or bias not in (None, "own", "common"):
        return None
    assert x_lie is not None
    if weight == "common":
        forms = {2: Form("lined_up", (call.rank(0),))} if bias == "own" else {}
        turn = to_stack(x_lie, g)

        def fold(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
            y = F.linear(turn(x), w) if forms else F.linear(turn(x), w, b)
            y = y.add_(b) if forms and b is not None else y
            return y if act is None else act(y)

        return MergedKernel(fold, forms, ("stack",))
    if bias == "common":
        return None
    if x_lie == "same" and call.rank(0) >= 2:
        forms = {1: Form("joined"), **({2: Form("joined")} if bias else {})}

        def one_product(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
            y = F.linear(x, w, b)
            y = y if act is None else act(y)
            return split(y, y.dim() - 1, g).movedim(-2, 0)

        return MergedKernel(one_product, forms, ("stack",))
    forms = {1: Form("turned_stack"), **({2: Form("lined_up", (2,))} if bias else {})}
    turn = to_stack(x_lie, g)

    def batched(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        x = turn(x)
        flat = x.reshape(g, -1, x.shape[-1])
        y = torch.bmm(flat, w) if b is None else torch.baddbmm(b, flat, w)
        y = y if act is None else act(y)
        return y.view(*x.shape[:-1], y.shape[-1])

    return MergedKernel(batched, forms, ("stack",))


def conv(call: Call) -> MergedKernel | None:
    x_lie, weight, bias, other = call.lie(0), call.lie(1), call.lie(2), call.lie(3)
    g, a = call.g, call.attributes
    if x_lie in (None, "own") or weight not in ("own", "common") or bias not in (None, weight) or other in ("own", "common"):
        return None
    if weight == "common":
        return _conv_of_samples(call)
    shape = call.shapes[0]
    assert shape is not None and x_lie is not None
    shared = x_lie == "same" and a["groups"] == 1
    groups = 1 if shared else g * a["groups"]
    channels = shape[1] if shared else g * shape[1]
    turn = (lambda x: x) if shared else to_wide(x_lie, g)
    turn_other = to_wide(other, g) if other is not None else None
    forms = {1: Form("joined"), **({2: Form("joined")} if bias else {})}
    packs = call.target.packs and call.step.facts[0].dtype == "float32" and len(shape) in (3, 4)
    if packs:
        forms[1] = packed_form(a, shape, groups, channels)
        packed = packed_call(a, len(shape) - 2, groups)
        if turn_other is None:
            return MergedKernel(lambda x, w, b=None: packed(turn(x), w, b), forms, ("wide",))
        return MergedKernel(lambda x, w, b, y: packed(turn(x), w, b, turn_other(y)), forms, ("wide",))
    name, grouped = call.step.kind.name, {**a, "groups": groups}

    def plain(x: Tensor, w: Tensor, b: Tensor | None = None, y: Tensor | None = None) -> Any:
        return run_op(name, [turn(x), w, b, None if y is None or turn_other is None else turn_other(y)], grouped)

    return MergedKernel(plain, forms, ("wide",))


def _conv_of_samples(call: Call) -> MergedKernel | None:
    x_lie, other, g = call.lie(0), call.lie(3), call.g
    assert x_lie is not None
    turn, turn_other = to_rows(x_lie, g), to_rows(other, g) if other is not None else None
    name, a = call.step.kind.name, call.attributes

    def run(x: Tensor, w: Tensor, b: Tensor | None = None, y: Tensor | None = None) -> Any:
        result = run_op(name, [turn(x), w, b, None if y is None or turn_other is None else turn_other(y)], a)
        return split(result, 0, g)

    return MergedKernel(run, {}, ("stack",))


def layer_norm(call: Call) -> MergedKernel | None:
    """Normalised without scale and shift, which are then applied member by member in one sweep."""
    name, rank, lie = call.step.kind.name, call.attributes["rank"], call.lie(0)
    scale, shift = call.lie(1), call.lie(2)
    if lie in (None, "own") or any(item not in (None, "own", "common") for item in (scale, shift)):
        return None
    assert lie is not None
    forms = {place: Form("lined_up", (call.rank(0),)) for place, item in ((1, scale), (2, shift)) if item == "own"}
    turn, eps = to_stack(lie, call.g), call.attributes["eps"]

    def run(x: Tensor, w: Tensor | None = None, b: Tensor | None = None) -> Tensor:
        x = turn(x)
        y = normalised(x, rank, eps) if name == "layer_norm" else F.rms_norm(x, x.shape[x.dim() - rank :], None, eps)
        if w is not None and b is not None:
            return torch.addcmul(b, y, w)
        y = y if w is None else y * w
        return y if b is None else y + b

    return MergedKernel(run, forms, ("stack",))


def channel_norm(call: Call) -> MergedKernel | None:
    """Side by side, the members' channels are just more channels, and more groups. With common weights they are more samples."""
    lie, a, g, name = call.lie(0), call.attributes, call.g, call.step.kind.name
    weights = {item for item in call.lies[1:] if item is not None}
    if lie is None or lie == "own" or len(weights) > 1 or not weights <= {"own", "common"} or call.rank(0) < 2:
        return None
    if weights == {"common"}:
        rows = to_rows(lie, g)
        return MergedKernel(lambda x, *rest: split(run_op(name, [rows(x), *rest], a), 0, g), {}, ("stack",))
    turn = to_wide(lie, g)
    wide = {**a, "groups": a["groups"] * g} if "groups" in a else a
    forms = {place: Form("joined") for place, item in enumerate(call.lies) if item == "own"}
    return MergedKernel(lambda x, *rest: run_op(name, [turn(x), *rest], wide), forms, ("wide",))


def pool(call: Call) -> MergedKernel | None:
    lie, a, name = call.lie(0), call.attributes, call.step.kind.name
    if lie == "wide":
        return MergedKernel(lambda x: run_op(name, [x], a), {}, ("wide",))
    if lie != "stack":
        return None
    g = call.g
    return MergedKernel(lambda x: split(run_op(name, [x.flatten(0, 1)], a), 0, g), {}, ("stack",))


def attention(call: Call) -> MergedKernel | None:
    """The members become samples."""
    lies, g, a = call.lies, call.g, call.attributes
    if "own" in lies or call.rank(0) < 3:
        return None
    turns = [to_rows(lie, g) for lie in lies[:3] if lie is not None]
    mask_lie = call.lie(3)
    per_sample = mask_lie is not None and call.rank(3) == call.rank(0) and call.shapes[3][:1] != (1,)  # type: ignore[index]
    if mask_lie in ("stack", "wide") and not per_sample:
        return None
    turn_mask = to_rows(mask_lie, g) if mask_lie is not None and per_sample else None

    def run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (turn(x) for turn, x in zip(turns, (q, k, v), strict=True))
        mask = turn_mask(mask) if turn_mask is not None and mask is not None else mask
        return split(F.scaled_dot_product_attention(q, k, v, mask, 0.0, a["causal"], scale=a["scale"]), 0, g)

    return MergedKernel(run, {}, ("stack",))


def embedding(call: Call) -> MergedKernel | None:
    """Rows of each member's table, for indices that all share."""
    if call.lie(0) != "own" or call.lie(1) not in ("same", "common"):
        return None

    def run(table: Tensor, indices: Tensor) -> Tensor:
        rows = table.shape[1]
        if indices.numel() and (int(indices.min()) < -rows or int(indices.max()) >= rows):
            raise IndexError(f"embedding: index out of range, expected {-rows} to {rows - 1}")
        flat = indices.reshape(-1).to(torch.int64)
        flat = torch.where(flat < 0, flat + rows, flat)
        return table.index_select(1, flat).reshape(table.shape[0], *indices.shape, *table.shape[2:])

    return MergedKernel(run, {0: Form("stacked")}, ("stack",))
