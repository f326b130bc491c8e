"""One operator of one model as a function of its tensors, and the forms its weights are wanted in.

In the "plain" layout a kernel gives what the program's own operator gives, to the bit. "fast" lays weights and activations
out anew (packed convolutions, turned matrices) and agrees within rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
import torch.nn.functional as F

from gpuworker.core.engine.operators import ACTIVATIONS, CONV, LINEAR, OVERWRITING, run_op
from gpuworker.core.engine.probe import filled
from gpuworker.core.engine.templates import TemplateStep
from gpuworker.core.program.ops import OPS

Tensor = torch.Tensor
Layout = Literal["plain", "fast"]
Shape = tuple[int, ...]
Function = Callable[..., Any]
_PACKED, _LINEAR = torch.ops.mkldnn._convolution_pointwise, torch.ops.mkldnn._linear_pointwise
LARGE = 1 << 19
"""Elements of a result, 2 MiB of float32, that no core holds close: each time something goes over it, it comes from afar."""
_MKLDNN_ACTS = {"": "none", "relu": "relu", "gelu": "gelu", "sigmoid": "sigmoid", "tanh": "tanh", "hardswish": "hardswish"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how code runs. Part of every code key."""

    device: str
    layout: Layout

    @property
    def packs(self) -> bool:
        """Whether convolutions run on weights packed for this processor."""
        return self.layout == "fast" and self.device == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Form:
    """The form a weight is wanted in: a row of `prepare.FORMS`, and its numbers."""

    name: str
    options: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Kernel:
    """function: takes the step's operands in order (None for those left out). forms: for each operand that is a weight."""

    function: Function
    forms: Mapping[int, Form]


def kernel(step: TemplateStep, shapes: Sequence[Shape | None], target: Target) -> Kernel:
    """The kernel of one step. shapes: of its operands at the sizes the code is made for; a hint, never relied on."""
    name, attributes = step.kind.name, step.kind.attributes
    if target.layout == "fast":
        if name in ("conv", CONV) and target.packs and _can_pack(step, shapes):
            return _packed_conv(step, shapes)
        if name in ("linear", LINEAR) and _is_weight(step, 1) and step.facts[0].dtype == "float32":
            rows = _many_rows(step, shapes) if target.packs else 0
            return Kernel(packed_linear(attributes.get("act", "")), {1: Form("packed_rows", (rows,))}) if rows else _turned_linear(step)
        if name == "layer_norm" and all(arg is None for arg in step.args[1:]):
            rank, eps = attributes["rank"], attributes["eps"]
            return Kernel(lambda x: normalised(x, rank, eps), {})
    builder = _DIRECT.get(name)
    if builder is not None and len(step.args) == step.n_inputs:
        return Kernel(builder(attributes), {})
    return Kernel(general(step), {})


def general(step: TemplateStep) -> Function:
    """The program's own operator, guards and all."""
    name, attributes, count = step.kind.name, step.kind.attributes, step.n_inputs
    if len(step.args) == count:
        return lambda *operands: run_op(name, operands, attributes)
    return lambda *operands: run_op(name, operands[:count], filled(attributes, operands[count:]))


def overwriting(step: TemplateStep) -> Function | None:
    """The kernel that writes into its first operand, for steps that have one."""
    if step.kind.name == "gelu" and step.kind.attributes["approximate"] == "none":
        return ACTIVATIONS["gelu"]
    return OVERWRITING.get(step.kind.name)


def _is_weight(step: TemplateStep, place: int) -> bool:
    arg = step.args[place] if place < step.n_inputs else None
    return arg is not None and arg < 0


def _turned_linear(step: TemplateStep) -> Kernel:
    """Rows times a weight that is stored turned round: x (..., I), weight (I, O), bias (O)."""
    act = ACTIVATIONS.get(step.kind.attributes.get("act", ""))

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        y = torch.addmm(bias, flat, weight) if bias is not None else torch.mm(flat, weight)
        y = y if act is None else act(y)
        return y.view(*x.shape[:-1], y.shape[-1])

    return Kernel(run, {1: Form("turned")})


def _many_rows(step: TemplateStep, shapes: Sequence[Shape | None]) -> int:
    """Rows of a product whose result is so large that bias, product and activation had better go over it together; 0 if it is not."""
    x, weight = shapes[:2]
    if x is None or weight is None or step.kind.attributes.get("act", "") not in _MKLDNN_ACTS:
        return 0
    rows = math.prod(x[:-1])
    return rows if rows * weight[0] >= LARGE else 0


def packed_linear(act: str) -> Function:
    """(x, packed weight, bias) > result."""
    name, algorithm = _MKLDNN_ACTS[act], "none" if act == "gelu" else ""
    return lambda x, weight, bias=None: _LINEAR(x, weight, bias, name, [], algorithm)


def conv_pads(attributes: Mapping[str, Any], rank: int) -> tuple[list[int], list[int] | None]:
    """(padding on both sides, None) where the sides agree, else (zeros, what `F.pad` wants)."""
    pads = attributes["pads"] or (0,) * (2 * rank)
    before, after = list(pads[:rank]), list(pads[rank:])
    if before == after:
        return before, None
    return [0] * rank, [size for pair in zip(reversed(before), reversed(after), strict=True) for size in pair]


def _can_pack(step: TemplateStep, shapes: Sequence[Shape | None]) -> bool:
    x, attributes = shapes[0], step.kind.attributes
    weights = all(_is_weight(step, place) for place in (1, 2) if place < step.n_inputs and step.args[place] is not None)
    return x is not None and len(x) in (3, 4) and weights and step.facts[0].dtype == "float32" and attributes.get("act", "") in _MKLDNN_ACTS


def packed_call(attributes: Mapping[str, Any], rank: int, groups: int) -> Function:
    """(x, packed weight, bias, other) > result. A series is an image of height 1."""
    even, uneven = conv_pads(attributes, rank)
    ones, act = [1] * rank, attributes.get("act", "")
    stride, dilation = list(attributes["stride"] or ones), list(attributes["dilation"] or ones)
    if rank == 1:
        even, stride, dilation = [0, *even], [1, *stride], [1, *dilation]
    name, algorithm = _MKLDNN_ACTS[act], "none" if act == "gelu" else ""
    binary_act = None if not act else name

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None, other: Tensor | None = None) -> Tensor:
        if uneven is not None:
            x = F.pad(x, uneven)
        if rank == 1:
            x = x.unsqueeze(2)
        if other is None:
            y = _PACKED(x, weight, bias, even, stride, dilation, groups, name, [], algorithm)
        else:
            other = other.unsqueeze(2) if rank == 1 else other
            if act in ("", "relu"):
                y = _PACKED.binary(x, other, weight, bias, even, stride, dilation, groups, "add", 1.0, binary_act, [], "")
            else:
                y = ACTIVATIONS[act](_PACKED(x, weight, bias, even, stride, dilation, groups, "none", [], "").add_(other))
        result: Tensor = y.squeeze(2) if rank == 1 else y
        return result

    return run


def packed_form(attributes: Mapping[str, Any], x: Shape, groups: int, channels: int) -> Form:
    """How a convolution's weight is packed for inputs like x."""
    rank = len(x) - 2
    even, uneven = conv_pads(attributes, rank)
    spatial = list(x[2:])
    if uneven is not None:
        spatial = [size + low + high for size, low, high in zip(spatial, uneven[-2::-2], uneven[-1::-2], strict=True)]
    ones = [1] * rank
    stride, dilation = list(attributes["stride"] or ones), list(attributes["dilation"] or ones)
    if rank == 1:
        even, stride, dilation, spatial = [0, *even], [1, *stride], [1, *dilation], [1, *spatial]
    return Form("packed", (tuple(even), tuple(stride), tuple(dilation), groups, (x[0], channels, *spatial)))


def _packed_conv(step: TemplateStep, shapes: Sequence[Shape | None]) -> Kernel:
    attributes, x = step.kind.attributes, shapes[0]
    assert x is not None
    groups = attributes["groups"]
    return Kernel(packed_call(attributes, len(x) - 2, groups), {1: packed_form(attributes, x, groups, x[1])})


def _mean(a: Mapping[str, Any]) -> Function:
    dims, keep = a["dims"], a["keepdim"]
    if not dims:
        return lambda x: OPS["mean"].run([x], a)
    return lambda x: torch.mean(x, dims, keep)


def _layer_norm(a: Mapping[str, Any]) -> Function:
    rank, eps = a["rank"], a["eps"]
    return lambda x, weight=None, bias=None: F.layer_norm(x, x.shape[x.dim() - rank :], weight, bias, eps)


def normalised(x: Tensor, rank: int, eps: float) -> Tensor:
    """Layer normalisation without scale and shift. On a processor torch's kernel is up to twice as fast when it is given both; over
    several dimensions they could be as large as the values."""
    sizes = x.shape[x.dim() - rank :]
    scale, shift = _nothing(sizes, x.dtype) if rank == 1 and x.device.type == "cpu" else (None, None)
    return F.layer_norm(x, sizes, scale, shift, eps)


@lru_cache(maxsize=64)
def _nothing(sizes: Shape, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A scale and a shift that change nothing."""
    return torch.ones(sizes, dtype=dtype), torch.zeros(sizes, dtype=dtype)


def _reshape(a: Mapping[str, Any]) -> Function:
    dims = a["dims"]
    kept = tuple(place for place, size in enumerate(dims) if size == 0)
    if not kept:
        return lambda x: x.reshape(dims)
    if kept == (0,):
        rest = dims[1:]
        return lambda x: x.reshape(x.shape[0], *rest)
    return lambda x: x.reshape([x.shape[place] if size == 0 else size for place, size in enumerate(dims)])


def _select(a: Mapping[str, Any]) -> Function:
    dim, place = a["dim"], a["index"]
    return lambda x: x.select(dim, place)


def _permute(a: Mapping[str, Any]) -> Function:
    dims = a["dims"]
    return lambda x: x.permute(dims)


def _attention(a: Mapping[str, Any]) -> Function:
    causal, scale = a["causal"], a["scale"]
    return lambda q, k, v, mask=None: F.scaled_dot_product_attention(q, k, v, mask, 0.0, causal, scale=scale)


def _softmax(a: Mapping[str, Any]) -> Function:
    dim = a["dim"]
    return lambda x: torch.softmax(x, dim)


def _gelu(a: Mapping[str, Any]) -> Function:
    how = a["approximate"]
    return lambda x: F.gelu(x, approximate=how)


# Operators whose guard and keyword handling can be spared: their result is no larger than what they are given asks for.
_DIRECT: Mapping[str, Callable[[Mapping[str, Any]], Function]] = {
    "linear": lambda a: F.linear,
    "relu": lambda a: torch.relu,
    "tanh": lambda a: torch.tanh,
    "sigmoid": lambda a: torch.sigmoid,
    "silu": lambda a: F.silu,
    "gelu": _gelu,
    "add": lambda a: torch.add,
    "sub": lambda a: torch.sub,
    "mul": lambda a: torch.mul,
    "div": lambda a: torch.true_divide,
    "matmul": lambda a: torch.matmul,
    "mean": _mean,
    "layer_norm": _layer_norm,
    "reshape": _reshape,
    "select": _select,
    "permute": _permute,
    "attention": _attention,
    "softmax": _softmax,
}
