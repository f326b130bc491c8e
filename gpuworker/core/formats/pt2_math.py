"""ATen element-wise operators, reductions and creation."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from gpuworker.core.formats.pt2_call import Call, Handler
from gpuworker.core.program.ops.kind import DTYPE_NAMES
from gpuworker.core.program.values import Value

_UNARY = (
    *("relu", "relu6", "sigmoid", "tanh", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "abs", "neg", "reciprocal"),
    *("floor", "ceil", "round", "trunc", "sign", "erf", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh"),
    *("asinh", "acosh", "atanh", "silu", "mish", "hardswish", "logical_not", "bitwise_not", "isnan", "isinf"),
)
_COMPARE = ("eq", "ne", "lt", "le", "gt", "ge")
_LOGIC = ("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor")


def _unary(name: str) -> Handler:
    return lambda c: c.emit(name, c.tensor("self"))


def _binary(name: str) -> Handler:
    return lambda c: c.emit(name, c.operand("self"), c.operand("other"))


def _scaled(name: str) -> Handler:
    """self + alpha * other."""

    def handler(c: Call) -> Value:
        other = c.operand("other")
        if c.args.get("alpha", 1) != 1:
            other = c.emit("mul", other, c.operand("alpha"))
        return c.emit(name, c.operand("self"), other)

    return handler


def rsub(c: Call) -> Value:
    value = c.tensor("self")
    if c.args.get("alpha", 1) != 1:
        value = c.emit("mul", value, c.operand("alpha"))
    return c.emit("sub", c.operand("other"), value)


def div(c: Call) -> Value:
    mode = c.args.get("rounding_mode")
    name = {None: "div", "floor": "floor_div", "trunc": "div_trunc"}[mode]
    return c.emit(name, c.operand("self"), c.operand("other"))


def power(c: Call) -> Value:
    return c.emit("pow", c.operand("self"), c.operand("exponent"))


def clamp(c: Call) -> Value:
    low = c.number("min") if c.has("min") else None
    high = c.number("max") if c.has("max") else None
    value = c.tensor("self")
    return value if low is None and high is None else c.emit("clamp", value, low=low, high=high)


def clamp_tensor(c: Call) -> Value:
    value = c.tensor("self")
    for name, op in (("min", "maximum"), ("max", "minimum")):
        if c.has(name):
            value = c.emit(op, value, c.tensor(name))
    return value


def hardtanh(c: Call) -> Value:
    low, high = c.number("min_val"), c.number("max_val")
    return c.emit("relu6", c.tensor("self")) if (low, high) == (0.0, 6.0) else c.emit("clamp", c.tensor("self"), low=low, high=high)


def elu(c: Call) -> Value:
    if c.number("scale") != 1 or c.number("input_scale") != 1:
        raise c.refuse("a scale other than 1")
    return c.emit("elu", c.tensor("self"), alpha=c.number("alpha"))


def glu(c: Call) -> Value:
    value = c.tensor("self")
    dim = c.axis(c.integer("dim"), c.rank(value))
    size = c.builder.size(value, dim)
    half = c.builder.math("floordiv", size, 2)
    gate = c.emit("sigmoid", c.emit("slice", value, dim=dim, start=half))
    return c.emit("mul", c.emit("slice", value, dim=dim, start=0, end=half), gate)


def prelu(c: Call) -> Value:
    value, weight = c.tensor("self"), c.tensor("weight")
    rank = c.rank(value)
    if weight.rank == 1 and rank > 2:
        weight = c.builder.reshape(weight, [-1, *([1] * (rank - 2))])
    return c.emit("prelu", value, weight)


def where(c: Call) -> Value:
    return c.emit("where", c.tensor("condition"), c.operand("self"), c.operand("other"))


def masked_fill(c: Call) -> Value:
    value = c.tensor("self")
    filler = c.operand("value")
    if value.dtype is not None and filler.constant is not None:
        filler = c.builder.weight(filler.constant.to(value.dtype))
    return c.emit("where", c.tensor("mask"), filler, value)


def _reduction(name: str) -> Handler:
    def handler(c: Call) -> Value:
        value = c.tensor("self")
        dtype = c.dtype() if "dtype" in c.args else None
        if value.dtype is not None and not value.dtype.is_floating_point and name == "sum":
            dtype = dtype or "int64"
        value = c.cast(value, dtype)
        rank = c.rank(value)
        dims = c.integers("dim") if c.has("dim") else []
        ordered = sorted(c.axis(dim, rank) for dim in dims) or list(range(rank))
        return c.emit(name, value, dims=ordered, keepdim=c.flag("keepdim"))

    return handler


def _variance(root: bool) -> Handler:
    def handler(c: Call) -> Value:
        value = c.tensor("self")
        rank = c.rank(value)
        dims = sorted(c.axis(dim, rank) for dim in c.integers("dim")) if c.has("dim") else list(range(rank))
        correction = int(c.number("correction")) if c.has("correction") else int(c.args.get("unbiased", True))
        result = c.emit("var", value, dims=dims, keepdim=c.flag("keepdim"), correction=correction)
        return c.emit("sqrt", result) if root else result

    return handler


def extreme(c: Call) -> list[Value]:
    """max.dim and min.dim: values and places."""
    value = c.tensor("self")
    dim = c.axis(c.integer("dim"), c.rank(value))
    least = c.target.startswith("min")
    found = c.emit("amin" if least else "amax", value, dims=[dim], keepdim=c.flag("keepdim"))
    return [found, c.emit("argmax", value, dim=dim, keepdim=c.flag("keepdim"), least=least)]


def arg(c: Call) -> Value:
    value = c.tensor("self")
    dim = c.axis(c.integer("dim"), c.rank(value)) if c.has("dim") else None
    return c.emit("argmax", value, dim=dim, keepdim=c.flag("keepdim"), least=c.target.startswith("argmin"))


def norm(c: Call) -> Value:
    value, order = c.tensor("self"), c.args.get("ord", c.args.get("p"))
    order = 2 if order is None else order
    rank = c.rank(value)
    dims = sorted(c.axis(dim, rank) for dim in c.integers("dim")) if c.has("dim") else list(range(rank))
    names = {1: "norm1", 2: "norm2"}
    if order not in names:
        raise c.refuse(f"norm of order {order}")
    return c.emit(names[order], value, dims=dims, keepdim=c.flag("keepdim"))


def topk(c: Call) -> tuple[Value, ...]:
    value = c.tensor("self")
    attributes = {"k": c.dim("k"), "dim": c.axis(c.integer("dim"), c.rank(value)), "largest": c.flag("largest")}
    return c.builder.emit_many("topk", [value], attributes, 2)


def softmax(c: Call) -> Value:
    value = c.cast(c.tensor("self"), c.dtype() if "dtype" in c.args else None)
    name = "log_softmax" if "log" in c.target else "softmax"
    return c.emit(name, value, dim=c.axis(c.integer("dim"), c.rank(value)))


def _filled(value: float | None) -> Handler:
    """zeros, ones, full and their new_ and _like forms."""

    def handler(c: Call) -> Value:
        filler = value if value is not None else c.args.get("fill_value")
        if isinstance(filler, Value):
            raise c.refuse("a fill value that is not a constant")
        like = c.args.get("self")
        dims = c.dims("size") if c.has("size") else c.sizes_of(c.tensor("self"))
        kind = torch.bool if isinstance(filler, bool) else torch.int64 if isinstance(filler, int) and value is None else torch.float32
        default = like.dtype if isinstance(like, Value) and like.dtype is not None else kind
        return c.emit("full", dims=dims, value=float(filler or 0), dtype=c.dtype(default=default))

    return handler


def arange(c: Call) -> Value:
    start = c.dim("start") if c.has("start") else 0
    step = c.dim("step") if c.has("step") else 1
    if isinstance(c.args.get("end"), float):
        raise c.refuse("a bound that is not an integer")
    return c.emit("arange", start=start, end=c.dim("end"), step=step, dtype=c.dtype(default=torch.int64))


def scalar_tensor(c: Call) -> Value:
    return c.cast(c.operand("s"), c.dtype(default=torch.float32))


def type_as(c: Call) -> Value:
    other = c.tensor("other")
    return c.cast(c.tensor("self"), DTYPE_NAMES[other.dtype] if other.dtype is not None else None)


HANDLERS: Mapping[str, Handler] = {
    **{f"{name}.default": _unary(name) for name in _UNARY},
    **{f"{name}.{kind}": _binary(name) for name in (*_COMPARE, *_LOGIC[3:]) for kind in ("Tensor", "Scalar")},
    **{f"{name}.default": _binary(name) for name in (*_LOGIC[:3], "minimum", "maximum", "floor_divide", "atan2")},
    **{f"{name}.{kind}": _scaled(name) for name in ("add", "sub") for kind in ("Tensor", "Scalar")},
    **{f"mul.{kind}": _binary("mul") for kind in ("Tensor", "Scalar")},
    **{f"remainder.{kind}": _binary("mod") for kind in ("Tensor", "Scalar")},
    **{f"fmod.{kind}": _binary("fmod") for kind in ("Tensor", "Scalar")},
    **{f"div.{kind}": div for kind in ("Tensor", "Scalar", "Tensor_mode", "Scalar_mode")},
    **{f"rsub.{kind}": rsub for kind in ("Tensor", "Scalar")},
    **{f"pow.{kind}": power for kind in ("Tensor_Scalar", "Tensor_Tensor", "Scalar")},
    **{f"where.{kind}": where for kind in ("self", "ScalarSelf", "ScalarOther", "Scalar")},
    **{f"masked_fill.{kind}": masked_fill for kind in ("Scalar", "Tensor")},
    **{f"sum.{kind}": _reduction("sum") for kind in ("default", "dim_IntList")},
    **{f"mean.{kind}": _reduction("mean") for kind in ("default", "dim")},
    **{f"any.{kind}": _reduction("any") for kind in ("default", "dim", "dims")},
    **{f"all.{kind}": _reduction("all") for kind in ("default", "dim", "dims")},
    **{f"prod.{kind}": _reduction("prod") for kind in ("default", "dim_int")},
    **{f"var.{kind}": _variance(False) for kind in ("default", "dim", "correction")},
    **{f"std.{kind}": _variance(True) for kind in ("default", "dim", "correction")},
    "amax.default": _reduction("amax"),
    "amin.default": _reduction("amin"),
    "max.default": _reduction("amax"),
    "min.default": _reduction("amin"),
    "logsumexp.default": _reduction("logsumexp"),
    "max.dim": extreme,
    "min.dim": extreme,
    "max.other": _binary("maximum"),
    "min.other": _binary("minimum"),
    "argmax.default": arg,
    "argmin.default": arg,
    "linalg_vector_norm.default": norm,
    "norm.ScalarOpt_dim": norm,
    "topk.default": topk,
    "cumsum.default": lambda c: c.emit("cumsum", c.cast(c.tensor("self"), c.dtype()), dim=c.integer("dim")),
    "softmax.int": softmax,
    "_softmax.default": softmax,
    "log_softmax.int": softmax,
    "_log_softmax.default": softmax,
    "clamp.default": clamp,
    "clamp_min.default": clamp,
    "clamp_max.default": clamp,
    "clamp.Tensor": clamp_tensor,
    "hardtanh.default": hardtanh,
    "log_sigmoid.default": _unary("log_sigmoid"),
    "elu.default": elu,
    "celu.default": lambda c: c.emit("celu", c.tensor("self"), alpha=c.number("alpha")),
    "selu.default": lambda c: c.emit("selu", c.tensor("self")),
    "gelu.default": lambda c: c.emit("gelu", c.tensor("self"), approximate=c.text("approximate")),
    "leaky_relu.default": lambda c: c.emit("leaky_relu", c.tensor("self"), slope=c.number("negative_slope")),
    "hardsigmoid.default": lambda c: c.emit("hard_sigmoid", c.tensor("self")),
    "softplus.default": lambda c: c.emit("softplus", c.tensor("self"), beta=c.number("beta"), threshold=c.number("threshold")),
    "prelu.default": prelu,
    "glu.default": glu,
    "square.default": lambda c: c.emit("mul", c.tensor("self"), c.tensor("self")),
    "zeros.default": _filled(0.0),
    "ones.default": _filled(1.0),
    "full.default": _filled(None),
    "zeros_like.default": _filled(0.0),
    "ones_like.default": _filled(1.0),
    "full_like.default": _filled(None),
    "new_zeros.default": _filled(0.0),
    "new_ones.default": _filled(1.0),
    "new_full.default": _filled(None),
    "arange.default": arange,
    "arange.start": arange,
    "arange.start_step": arange,
    "scalar_tensor.default": scalar_tensor,
    "type_as.default": type_as,
}
