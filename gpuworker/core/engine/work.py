"""How much work one operator is: closed-form amounts per cost class, from shapes alone.

Each class has its own amounts; a cost model knows milliseconds per amount. Merged execution changes amounts, never classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gpuworker.core.engine.operators import CONV, LINEAR

Shape = Sequence[int]
AMOUNTS: Mapping[str, tuple[str, ...]] = {
    "gemm": ("flops", "read", "written", "weights", "after"),
    "bmm": ("flops", "read", "written", "products", "after"),
    "conv": ("flops", "read", "written", "weights", "taps", "lanes", "lines", "after"),
    "depthwise": ("flops", "read", "written", "after"),
    "attention": ("flops", "scores", "read", "written", "heads"),
    "grouped": ("flops", "read", "written", "weights", "taps", "lanes", "lines", "after", "groups"),
    "recurrent": ("flops", "written", "weights", "steps", "states"),
    "stepwise": ("flops", "written", "weights", "steps", "states"),
    "cells": ("flops", "written", "weights", "steps", "states"),
    "light": ("read", "written"),
    "heavy": ("written",),
    "norm": ("written", "rows"),
    "reduce": ("read", "written"),
    "pool": ("taps", "written"),
    "copy": ("written",),
    "gather": ("written", "rows"),
    "other": ("read", "written"),
    "piece": ("calls", "tensors", "values"),
    "free": (),
}
"""Amounts of each class: flops = multiply-adds; read, written, weights, scores = elements; taps = elements times window;
lanes = multiply-adds where channels are filled up to whole vectors; lines = rows of images, of which kernels do one at a time;
after = elements that light operators fused to the layer go over.

recurrent: in one kernel; stepwise: step by step. grouped, cells: convolutions and recurrent layers of several models at once. piece:
starting a compiled piece of work, and handing out the values it makes.
"""
TOUCHED = frozenset({"read", "written", "weights", "scores"})
"""Those of the amounts that are elements of tensors."""

_HEAVY = frozenset({"gelu", "erf", "exp", "expm1", "log", "log1p", "tanh", "sigmoid", "silu", "mish", "softplus", "sin", "cos", "pow"})
_VIEWS = frozenset({"reshape", "permute", "expand", "select", "slice", "size", "numel", "int_math", "unsqueeze", "squeeze", "flatten"})
_REDUCTIONS = frozenset({"sum", "mean", "amax", "amin", "logsumexp", "norm1", "norm2", "any", "all", "prod", "var", "argmax", "cumsum"})
_NORMS = frozenset({"layer_norm", "rms_norm", "group_norm", "instance_norm", "batch_norm", "softmax", "log_softmax", "lp_normalize"})
_POOLS = frozenset({"max_pool", "avg_pool", "adaptive_pool"})
_COPIES = frozenset({"concat", "pad", "tile", "flip", "roll", "cast", "tril", "triu", "resize"})
_GATHERS = frozenset({"embedding", "embedding_bag", "take", "gather", "gather_nd", "index", "scatter", "one_hot", "tree_ensemble"})
_RECURRENT = {"lstm": 4, "gru": 3, "rnn": 1}
_LANES = 16  # float32 in a vector of AVX-512


def work_of(
    name: str, attributes: Mapping[str, Any], inputs: Sequence[Shape | None], outputs: Sequence[Shape], viewed: bool
) -> list[tuple[str, tuple[float, ...]]]:
    """(class, amounts in the order of AMOUNTS) of one operator; a fused one is several. viewed: the result is no new memory."""
    out = outputs[0] if outputs else ()
    written = float(math.prod(out))
    shapes = [shape for shape in inputs if shape is not None]
    read = float(sum(math.prod(shape) for shape in shapes))
    if viewed or name in ("size", "numel", "int_math", "item"):
        return [("free", ())]
    if name in ("conv", CONV):
        return _conv(attributes, shapes, out)
    if name == "conv_transpose":
        weight = shapes[1]
        elements = float(math.prod(shapes[0]))
        flops = elements * math.prod(weight[1:])
        return [("conv", (flops, elements, written, math.prod(weight), 0.0, flops, _lines(out), 0.0))]
    if name in ("linear", LINEAR):
        flops = written * shapes[1][-1]
        after, heavy = _tail(attributes, len(shapes) >= 9, written)
        return [("gemm", (flops, float(math.prod(shapes[0])), written, float(math.prod(shapes[1])), after)), *heavy]
    if name in ("matmul", "einsum"):
        inner = shapes[0][-1] if shapes[0] else 1
        return [("bmm", (written * inner, read, written, float(math.prod(out[:-2])), 0.0))]
    if name == "attention":
        q, k, v = shapes[:3]
        scores = float(math.prod(q[:-1]) * k[-2])
        return [("attention", (scores * (q[-1] + v[-1]), scores, read, written, float(math.prod(q[:-2]))))]
    if name in _RECURRENT:
        return [("recurrent" if name == "lstm" else "stepwise", _recurrent(name, attributes, inputs, written))]
    rows = written / max(1, out[-1] if out else 1)
    for family, members, amounts in (
        ("norm", _NORMS, (written, rows)),
        ("pool", _POOLS, (_taps(attributes, read, written), written)),
        ("reduce", _REDUCTIONS, (read, written)),
        ("heavy", _HEAVY, (written,)),
        ("copy", _COPIES | _VIEWS, (written,)),
        ("gather", _GATHERS, (written, rows)),
    ):
        if name in members:
            return [(family, amounts)]
    return [("light", (read, written))]


def _conv(attributes: Mapping[str, Any], shapes: Sequence[Shape], out: Shape) -> list[tuple[str, tuple[float, ...]]]:
    x, weight = shapes[:2]
    written = float(math.prod(out))
    window = math.prod(weight[1:])
    after, heavy = _tail(attributes, len(shapes) >= 4, written)
    if weight[1] == 1 and attributes["groups"] > 1:
        return [("depthwise", (written * window, float(math.prod(x)), written, after)), *heavy]
    taps = written * math.prod(weight[2:])
    flops = written * window
    lanes = in_lanes(flops, weight[0] / max(1, attributes["groups"]), weight[1])
    return [("conv", (flops, float(math.prod(x)), written, float(math.prod(weight)), taps, lanes, _lines(out), after)), *heavy]


def _lines(out: Shape) -> float:
    """Rows of the images that a convolution makes, each for all channels at once; a series is an image of one row."""
    return float(math.prod(out[:1]) * math.prod(out[2:-1]))


def in_lanes(flops: float, made: float, given: float) -> float:
    """Multiply-adds of a convolution whose channels (in a group) are filled up to whole vectors."""
    return flops * math.prod(math.ceil(channels / _LANES) * _LANES / max(1, channels) for channels in (made, given))


def _tail(attributes: Mapping[str, Any], added: bool, written: float) -> tuple[float, list[tuple[str, tuple[float, ...]]]]:
    """What a fused operator does after its layer: (elements that light operators go over, a heavy one). added: another value is."""
    act = attributes.get("act")
    heavy = act in _HEAVY
    light = written * (added + (bool(act) and not heavy))
    return light, [("heavy", (written,))] if heavy else []


def _recurrent(name: str, attributes: Mapping[str, Any], inputs: Sequence[Shape | None], written: float) -> tuple[float, ...]:
    x = inputs[0]
    assert x is not None
    weights = [shape for shape in inputs[1:] if shape is not None and len(shape) == 2]
    steps, samples = (x[1], x[0]) if attributes["batch_first"] else (x[0], x[1])
    held = float(sum(math.prod(shape) for shape in weights))
    layers = attributes["layers"] * (1 + attributes["bidirectional"])
    return held * steps * samples, written, held, float(steps * layers), float(steps * samples * layers) * _RECURRENT[name]


def _taps(attributes: Mapping[str, Any], read: float, written: float) -> float:
    return written * math.prod(attributes["kernel"]) if "kernel" in attributes else read
