"""Merge rules of operators without layers: element-wise, reductions, views, products of activations."""

from __future__ import annotations

import math
from typing import Any

import torch

from gpuworker.core.engine.kernels import Form, general
from gpuworker.core.engine.layouts import aligned, alike, to_stack
from gpuworker.core.engine.merge_call import Call, MergedKernel
from gpuworker.core.engine.operators import run_op
from gpuworker.core.program.ops import OPS

Tensor = torch.Tensor


def pointwise(call: Call) -> MergedKernel | None:
    lie = call.lie(0)
    return None if lie in (None, "own") or call.sized() else MergedKernel(general(call.step), {}, (lie,))


def broadcasting(call: Call) -> MergedKernel | None:
    """Two values that lie alike and have the same shape keep their layout; otherwise all are lined up member by member."""
    name, attributes = call.step.kind.name, call.attributes
    lies = [lie for lie in call.lies if lie is not None]
    shapes = [shape for shape in call.shapes if shape != ()]
    function = OPS[name].run
    side_by_side = all(lie == "wide" or shape == () for lie, shape in zip(call.lies, call.shapes, strict=True))
    if "wide" in lies and side_by_side and "own" not in lies and all(shape == shapes[0] for shape in shapes):
        return MergedKernel(lambda *x: function(x, attributes), {}, ("wide",))
    target = max(call.rank(place) for place in range(len(lies)))
    forms = {place: Form("lined_up", (target,)) for place, lie in enumerate(lies) if lie == "own"}
    turns = [(lambda x: x) if lie == "own" else aligned(lie, call.g, call.rank(place), target) for place, lie in enumerate(lies)]
    if all(shape == shapes[0] for shape in shapes) and set(lies) == {"stack"}:
        return MergedKernel(lambda *x: function(x, attributes), {}, ("stack",))
    return MergedKernel(lambda *x: function([turn(item) for turn, item in zip(turns, x, strict=True)], attributes), forms, ("stack",))


def reduction(call: Call) -> MergedKernel | None:
    """Over space in the wide layout, else with every dimension moved by one."""
    lie, attributes, rank = call.lie(0), call.attributes, call.rank(0)
    if lie == "own" or rank == 0:
        return None
    assert lie is not None
    function = OPS[call.step.kind.name].run
    dims = attributes["dims"]
    dims = tuple(range(rank)) if dims is None else tuple(dim % rank for dim in dims)
    if lie == "wide" and dims and min(dims) > 1:
        return MergedKernel(lambda x: function([x], attributes), {}, ("wide",))
    moved = {**attributes, "dims": tuple(dim + 1 for dim in dims)}
    if not dims:
        return None
    turn = to_stack(lie, call.g)
    return MergedKernel(lambda x: function([turn(x)], moved), {}, ("stack",))


def shifted(call: Call) -> MergedKernel | None:
    """Operators with one `dim`: it moves by one."""
    if call.sized() or "own" in call.lies or call.attributes.get("dim") is None:
        return None
    name, rank = call.step.kind.name, call.rank(0)
    moved = {**call.attributes, "dim": call.attributes["dim"] % rank + 1}
    turns = [to_stack(lie, call.g) for lie in call.lies if lie is not None]
    lies = alike("stack", call.step.kind.outputs)
    return MergedKernel(lambda *x: run_op(name, [turn(item) for turn, item in zip(turns, x, strict=True)], moved), {}, lies)


def reshape(call: Call) -> MergedKernel | None:
    lie = call.lie(0)
    if call.sized() or lie in (None, "own"):
        return None
    turn, dims = to_stack(lie, call.g), call.attributes["dims"]

    def run(x: Tensor) -> Tensor:
        x = turn(x)
        sizes = [x.shape[place + 1] if size == 0 else size for place, size in enumerate(dims)]
        if -1 in sizes:
            # Worked out by hand: a free size could swallow members when a member has no elements.
            sizes[sizes.index(-1)] = math.prod(x.shape[1:]) // max(1, -math.prod(sizes))
        return x.reshape(x.shape[0], *sizes)

    return MergedKernel(run, {}, ("stack",))


def permute(call: Call) -> MergedKernel | None:
    lie = call.lie(0)
    if lie in (None, "own"):
        return None
    turn, dims = to_stack(lie, call.g), (0, *(dim % call.rank(0) + 1 for dim in call.attributes["dims"]))
    return MergedKernel(lambda x: turn(x).permute(dims), {}, ("stack",))


def size(call: Call) -> MergedKernel | None:
    lie = call.lie(0)
    if lie in (None, "own"):
        return None
    turn, dim = to_stack(lie, call.g), call.attributes["dim"] % call.rank(0) + 1
    return MergedKernel(lambda x: int(turn(x).shape[dim]), {}, ("same",))


def matmul(call: Call) -> MergedKernel | None:
    """Products of activations, or of activations and matrices that differ."""
    ranks = [call.rank(place) for place in (0, 1)]
    if min(ranks) < 2:
        return None
    target = max(ranks)
    forms = {place: Form("lined_up", (target,)) for place, lie in enumerate(call.lies) if lie == "own"}
    turns: list[Any] = []
    for place, lie in enumerate(call.lies):
        assert lie is not None
        turns.append((lambda x: x) if lie == "own" else aligned(lie, call.g, ranks[place], target))
    return MergedKernel(lambda x, y: torch.matmul(turns[0](x), turns[1](y)), forms, ("stack",))
