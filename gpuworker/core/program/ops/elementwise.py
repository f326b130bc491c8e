"""Element-wise operators, casts and reductions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from gpuworker.core.program.ops.kind import DTYPES, Attr, Attributes, OpSpec, broadcast

Tensor = torch.Tensor

UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "abs": torch.abs,
    "neg": torch.neg,
    "reciprocal": torch.reciprocal,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "trunc": torch.trunc,
    "sign": torch.sign,
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "asinh": torch.asinh,
    "acosh": torch.acosh,
    "atanh": torch.atanh,
    "silu": F.silu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "softsign": F.softsign,
    "log_sigmoid": F.logsigmoid,
    "logical_not": torch.logical_not,
    "bitwise_not": torch.bitwise_not,
    "isnan": torch.isnan,
    "isinf": torch.isinf,
}
BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.true_divide,
    "floor_div": torch.floor_divide,
    "mod": torch.remainder,
    "fmod": torch.fmod,
    "pow": torch.pow,
    "minimum": torch.minimum,
    "maximum": torch.maximum,
    "atan2": torch.atan2,
    "eq": torch.eq,
    "ne": torch.ne,
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "bitwise_and": torch.bitwise_and,
    "bitwise_or": torch.bitwise_or,
    "bitwise_xor": torch.bitwise_xor,
}


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[Sequence[Any], Attributes], Tensor]:
    return lambda inputs, a: function(inputs[0])


def _binary(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Sequence[Any], Attributes], Tensor]:
    def run(inputs: Sequence[Any], a: Attributes) -> Tensor:
        broadcast(name, inputs[0], inputs[1])
        return function(inputs[0], inputs[1])

    return run


def div_trunc(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """Integer division towards zero (ONNX Div on integers)."""
    broadcast("div_trunc", *inputs)
    return torch.div(inputs[0], inputs[1], rounding_mode="trunc")


def where(inputs: Sequence[Any], a: Attributes) -> Tensor:
    broadcast("where", *inputs)
    return torch.where(inputs[0].bool(), inputs[1], inputs[2])


def clamp(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """Bounds are attributes; a bound outside an integer dtype is cut by torch."""
    x, low, high = inputs[0], a["low"], a["high"]
    if not x.is_floating_point():
        low, high = (None if low is None else int(low)), (None if high is None else int(high))
    return x if low is None and high is None else torch.clamp(x, low, high)


def hard_sigmoid(inputs: Sequence[Any], a: Attributes) -> Tensor:
    return torch.clamp(inputs[0] * a["alpha"] + a["beta"], 0.0, 1.0)


def prelu(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x, slope = inputs
    broadcast("prelu", x, slope)
    return torch.where(x >= 0, x, x * slope)


def cast(inputs: Sequence[Any], a: Attributes) -> Tensor:
    dtype = DTYPES[a["dtype"]]
    x: Tensor = inputs[0]
    return x.to(dtype)


def _softplus(inputs: Sequence[Any], a: Attributes) -> Tensor:
    return F.softplus(inputs[0], a["beta"], a["threshold"])


def thresholded_relu(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x = inputs[0]
    return torch.where(x > a["alpha"], x, torch.zeros((), dtype=x.dtype, device=x.device))


Reduction = Callable[[Tensor, tuple[int, ...], bool], Tensor]
REDUCTIONS: dict[str, Reduction] = {
    "sum": lambda x, dims, keep: torch.sum(x, dims, keep, dtype=x.dtype if x.dtype != torch.bool else None),
    "mean": lambda x, dims, keep: torch.mean(x, dims, keep),
    "amax": lambda x, dims, keep: torch.amax(x, dims, keep),
    "amin": lambda x, dims, keep: torch.amin(x, dims, keep),
    "logsumexp": lambda x, dims, keep: torch.logsumexp(x, dims, keep),
    "norm1": lambda x, dims, keep: torch.sum(x.abs(), dims, keep, dtype=x.dtype),
    "norm2": lambda x, dims, keep: torch.sqrt(torch.sum(x * x, dims, keep, dtype=x.dtype)),
    "any": lambda x, dims, keep: torch.any(x, dims, keep),
    "all": lambda x, dims, keep: torch.all(x, dims, keep),
}


def _reduce(function: Reduction) -> Callable[[Sequence[Any], Attributes], Tensor]:
    def run(inputs: Sequence[Any], a: Attributes) -> Tensor:
        x: Tensor = inputs[0]
        dims = a["dims"] if a["dims"] is not None else tuple(range(x.dim()))
        return function(x, tuple(dims), a["keepdim"]) if dims else function(x.unsqueeze(0), (0,), False)

    return run


def prod(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x: Tensor = inputs[0]
    dims = a["dims"] if a["dims"] is not None else tuple(range(x.dim()))
    for dim in sorted((dim % max(x.dim(), 1) for dim in dims), reverse=True):
        x = torch.prod(x, dim, a["keepdim"], dtype=x.dtype)
    return x


def var(inputs: Sequence[Any], a: Attributes) -> Tensor:
    return torch.var(inputs[0], a["dims"], correction=a["correction"], keepdim=a["keepdim"])


def argmax(inputs: Sequence[Any], a: Attributes) -> Tensor:
    function = torch.argmin if a["least"] else torch.argmax
    return function(inputs[0], a["dim"], a["keepdim"])


def cumsum(inputs: Sequence[Any], a: Attributes) -> Tensor:
    return torch.cumsum(inputs[0], a["dim"])


def topk(inputs: Sequence[Any], a: Attributes) -> tuple[Tensor, Tensor]:
    values, indices = torch.topk(inputs[0], a["k"], a["dim"], a["largest"], True)
    return values, indices


_REDUCE = {"dims": Attr("ints", None, optional=True), "keepdim": Attr("bool", False)}
ALL: tuple[OpSpec, ...] = (
    *(OpSpec(name, _unary(function), (1, 1)) for name, function in UNARY.items()),
    *(OpSpec(name, _binary(name, function), (2, 2)) for name, function in BINARY.items()),
    *(OpSpec(name, _reduce(function), (1, 1), _REDUCE) for name, function in REDUCTIONS.items()),
    OpSpec("div_trunc", div_trunc, (2, 2)),
    OpSpec("where", where, (3, 3)),
    OpSpec("clamp", clamp, (1, 1), {"low": Attr("float", optional=True), "high": Attr("float", optional=True)}),
    OpSpec(
        "gelu",
        lambda i, a: F.gelu(i[0], approximate=a["approximate"]),
        (1, 1),
        {"approximate": Attr("text", "none", choices=("none", "tanh"))},
    ),
    OpSpec("leaky_relu", lambda i, a: F.leaky_relu(i[0], a["slope"]), (1, 1), {"slope": Attr("float", 0.01)}),
    OpSpec("elu", lambda i, a: F.elu(i[0], a["alpha"]), (1, 1), {"alpha": Attr("float", 1.0)}),
    OpSpec("celu", lambda i, a: F.celu(i[0], a["alpha"]), (1, 1), {"alpha": Attr("float", 1.0)}),
    OpSpec(
        "selu",
        lambda i, a: torch.where(i[0] > 0, i[0], torch.expm1(i[0]) * a["alpha"]) * a["gamma"],
        (1, 1),
        {"alpha": Attr("float", 1.6732632423543772), "gamma": Attr("float", 1.0507009873554805)},
    ),
    OpSpec("softplus", _softplus, (1, 1), {"beta": Attr("float", 1.0), "threshold": Attr("float", 20.0)}),
    OpSpec("hard_sigmoid", hard_sigmoid, (1, 1), {"alpha": Attr("float", 1 / 6), "beta": Attr("float", 0.5)}),
    OpSpec("thresholded_relu", thresholded_relu, (1, 1), {"alpha": Attr("float", 1.0)}),
    OpSpec("prelu", prelu, (2, 2)),
    OpSpec("cast", cast, (1, 1), {"dtype": Attr("text", required=True, choices=tuple(DTYPES))}),
    OpSpec("prod", prod, (1, 1), _REDUCE),
    OpSpec("var", var, (1, 1), _REDUCE | {"correction": Attr("int", 1)}),
    OpSpec("argmax", argmax, (1, 1), {"dim": Attr("int", optional=True), "keepdim": Attr("bool", False), "least": Attr("bool", False)}),
    OpSpec("cumsum", cumsum, (1, 1), {"dim": Attr("int", required=True)}),
    OpSpec("topk", topk, (1, 1), {"k": Attr("dim", required=True), "dim": Attr("int", -1), "largest": Attr("bool", True)}, outputs=(1, 2)),
)
