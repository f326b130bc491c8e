"""ONNX element-wise operators and reductions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from gpuworker.core.formats.onnx_node import Node, Result, dtype_name, is_integer, torch_dtype
from gpuworker.core.formats.onnx_shape import cast_to, int_math, reduce_prod_of_sizes
from gpuworker.core.program.values import Value

_UNARY = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Exp": "exp",
    "Log": "log",
    "Sqrt": "sqrt",
    "Abs": "abs",
    "Neg": "neg",
    "Reciprocal": "reciprocal",
    "Floor": "floor",
    "Ceil": "ceil",
    "Round": "round",
    "Sign": "sign",
    "Erf": "erf",
    "Sin": "sin",
    "Cos": "cos",
    "Tan": "tan",
    "Asin": "asin",
    "Acos": "acos",
    "Atan": "atan",
    "Sinh": "sinh",
    "Cosh": "cosh",
    "Asinh": "asinh",
    "Acosh": "acosh",
    "Atanh": "atanh",
    "Mish": "mish",
    "HardSwish": "hardswish",
    "Softsign": "softsign",
    "Softplus": "softplus",
    "Not": "logical_not",
    "BitwiseNot": "bitwise_not",
    "IsNaN": "isnan",
    "IsInf": "isinf",
}
_BINARY = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Equal": "eq",
    "Less": "lt",
    "LessOrEqual": "le",
    "Greater": "gt",
    "GreaterOrEqual": "ge",
    "And": "logical_and",
    "Or": "logical_or",
    "Xor": "logical_xor",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
}
_FOLDS = {"Sum": "add", "Min": "minimum", "Max": "maximum", "Mean": "add"}
_REDUCE = {
    "ReduceSum": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "amax",
    "ReduceMin": "amin",
    "ReduceProd": "prod",
    "ReduceL1": "norm1",
    "ReduceL2": "norm2",
    "ReduceLogSumExp": "logsumexp",
    "ReduceLogSum": "sum",
    "ReduceSumSquare": "sum",
}


def unary(n: Node) -> Result:
    return n.builder.emit(_UNARY[n.op], [n.tensor()])


def pair(n: Node, name: str, first: Value, second: Value) -> Value:
    """A binary operator; a constant of one element becomes 0-d, so that equal computations look equal."""
    return n.builder.emit(name, [_small(n, first, second), _small(n, second, first)])


def _small(n: Node, value: Value, other: Value) -> Value:
    tensor = value.constant
    if tensor is None or tensor.numel() != 1 or tensor.dim() == 0 or other.rank is None or other.rank < tensor.dim():
        return value
    return n.builder.weight(tensor.reshape(()))


def binary(n: Node) -> Result:
    sizes = int_math(n) if n.op in ("Add", "Sub", "Mul") else None
    if sizes is not None:
        return sizes
    first, second = n.tensor(0), n.tensor(1)
    if n.opset < 7 and n.integer("broadcast", 0) and "axis" in n.attributes:
        rank, axis = n.rank(first), n.integer("axis")
        second = n.builder.reshape(
            second, [*(n.builder.size(second, place) for place in range(n.rank(second))), *([1] * (rank - axis - n.rank(second)))]
        )
    return pair(n, _BINARY[n.op], first, second)


def div(n: Node) -> Result:
    sizes = int_math(n)
    if sizes is not None:
        return sizes
    first, second = n.tensor(0), n.tensor(1)
    return pair(n, "div_trunc" if is_integer(first) else "div", first, second)


def mod(n: Node) -> Result:
    sizes = int_math(n)
    return sizes if sizes is not None else pair(n, "fmod" if n.integer("fmod", 0) else "mod", n.tensor(0), n.tensor(1))


def power(n: Node) -> Result:
    base, exponent = n.tensor(0), n.tensor(1)
    result = pair(n, "pow", base, exponent)
    return cast_to(n, result, dtype_name(base) or "float32")


def fold(n: Node) -> Result:
    sizes = int_math(n) if n.op in ("Min", "Max") else None
    if sizes is not None:
        return sizes
    value = n.tensor(0)
    for place in range(1, len(n.inputs)):
        value = pair(n, _FOLDS[n.op], value, n.tensor(place))
    if n.op == "Mean" and len(n.inputs) > 1:
        value = n.builder.emit("div", [value, n.builder.scalar(float(len(n.inputs)), value.dtype)])
    return value


def where(n: Node) -> Result:
    return n.builder.emit("where", [n.tensor(place) for place in range(3)])


def clip(n: Node) -> Result:
    value = n.tensor()
    bounds: dict[str, float | None] = {}
    for name, attribute, place in (("low", "min", 1), ("high", "max", 2)):
        bounds[name] = n.real(attribute) if attribute in n.attributes else None
        if n.has(place):
            bound = n.tensor(place)
            if bound.constant is None:
                value = n.builder.emit("maximum" if name == "low" else "minimum", [value, bound])
            else:
                bounds[name] = float(bound.constant.reshape(-1)[0])
    if bounds == {"low": 0.0, "high": 6.0} and value.dtype is not None and value.dtype.is_floating_point:
        return n.builder.emit("relu6", [value])
    return value if bounds == {"low": None, "high": None} else n.builder.emit("clamp", [value], bounds)


def reduce(n: Node) -> Result:
    sizes = reduce_prod_of_sizes(n) if n.op == "ReduceProd" else None
    if sizes is not None:
        return sizes
    value = n.tensor()
    axes = n.ints(1, "the list of axes") if n.has(1) else n.int_list("axes", [])
    if not axes and n.integer("noop_with_empty_axes", 0):
        return value
    rank = n.rank(value)
    dims = sorted(n.axis(axis, rank) for axis in axes) or list(range(rank))
    if n.op == "ReduceSumSquare":
        value = n.builder.emit("mul", [value, value])
    result = n.builder.emit(_REDUCE[n.op], [value], {"dims": dims, "keepdim": bool(n.integer("keepdims", 1))})
    return n.builder.emit("log", [result]) if n.op == "ReduceLogSum" else result


def arg(n: Node) -> Result:
    if n.integer("select_last_index", 0):
        raise n.refuse("select_last_index")
    value = n.tensor()
    attributes = {"dim": n.axis(n.integer("axis", 0), n.rank(value)), "keepdim": bool(n.integer("keepdims", 1)), "least": n.op == "ArgMin"}
    return n.builder.emit("argmax", [value], attributes)


def topk(n: Node) -> Result:
    value = n.tensor()
    count = n.dims(1)[0] if n.has(1) else n.integer("k")
    attributes = {"k": count, "dim": n.axis(n.integer("axis", -1), n.rank(value)), "largest": bool(n.integer("largest", 1))}
    return n.builder.emit_many("topk", [value], attributes, 2)


def cumsum(n: Node) -> Result:
    if n.integer("exclusive", 0) or n.integer("reverse", 0):
        raise n.refuse("exclusive or reverse")
    return n.builder.emit("cumsum", [n.tensor()], {"dim": n.axis(n.ints(1, "the axis")[0], n.rank(n.tensor()))})


def softmax(n: Node) -> Result:
    """Before opset 13 everything from `axis` on is one distribution."""
    value = n.tensor()
    rank = n.rank(value)
    axis = n.axis(n.integer("axis", -1 if n.opset >= 13 else 1), rank)
    name = "softmax" if n.op == "Softmax" else "log_softmax"
    sizes = n.shape(value)
    if n.opset >= 13 or all(size == 1 for size in sizes[axis + 1 :]):
        return n.builder.emit(name, [value], {"dim": axis})
    flat = n.builder.reshape(value, [*(n.builder.size(value, place) for place in range(axis)), -1])
    flat = n.builder.emit(name, [flat], {"dim": axis})
    return n.builder.reshape(flat, [n.builder.size(value, place) for place in range(rank)])


def quantize(n: Node) -> Result:
    """To the integer grid: round half to even, then clip to the type of the zero point."""
    value, scale = n.tensor(0), _per_axis(n, n.tensor(1))
    zero = n.tensor(2) if n.has(2) else n.builder.weight(torch.zeros((), dtype=torch.uint8))
    dtype = dtype_name(zero)
    if dtype not in ("uint8", "int8"):
        raise n.refuse(f"quantisation to {dtype}")
    grid = n.builder.emit("round", [n.builder.emit("div", [value, scale])])
    grid = n.builder.emit("add", [grid, _per_axis(n, cast_to(n, zero, "float32"))])
    info = torch.iinfo(torch_dtype(dtype))
    return cast_to(n, n.builder.emit("clamp", [grid], {"low": info.min, "high": info.max}), dtype)


def dequantize(n: Node) -> Result:
    value, scale = cast_to(n, n.tensor(0), "float32"), _per_axis(n, n.tensor(1))
    if n.has(2):
        value = n.builder.emit("sub", [value, _per_axis(n, cast_to(n, n.tensor(2), "float32"))])
    return n.builder.emit("mul", [value, scale])


def _per_axis(n: Node, value: Value) -> Value:
    """A vector of scales lies along `axis` of the first input."""
    if value.rank == 0 or (value.constant is not None and value.constant.numel() == 1):
        return n.builder.reshape(value, [])
    if n.integer("block_size", 0) or value.rank != 1:
        raise n.refuse("blocked quantisation")
    rank = n.rank(n.tensor(0))
    return n.builder.reshape(value, [-1, *([1] * (rank - 1 - n.axis(n.integer("axis", 1), rank)))])


HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    **dict.fromkeys(_UNARY, unary),
    **dict.fromkeys(_BINARY, binary),
    **dict.fromkeys(_FOLDS, fold),
    **dict.fromkeys(_REDUCE, reduce),
    "Div": div,
    "Mod": mod,
    "Pow": power,
    "Where": where,
    "Clip": clip,
    "ArgMax": arg,
    "ArgMin": arg,
    "TopK": topk,
    "CumSum": cumsum,
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "PRelu": lambda n: n.builder.emit("prelu", [n.tensor(0), n.tensor(1)]),
    "LeakyRelu": lambda n: n.builder.emit("leaky_relu", [n.tensor()], {"slope": n.real("alpha", 0.01)}),
    "Elu": lambda n: n.builder.emit("elu", [n.tensor()], {"alpha": n.real("alpha", 1.0)}),
    "Celu": lambda n: n.builder.emit("celu", [n.tensor()], {"alpha": n.real("alpha", 1.0)}),
    "Selu": lambda n: n.builder.emit("selu", [n.tensor()], {"alpha": n.real("alpha", 1.6732632), "gamma": n.real("gamma", 1.0507009)}),
    "ThresholdedRelu": lambda n: n.builder.emit("thresholded_relu", [n.tensor()], {"alpha": n.real("alpha", 1.0)}),
    "HardSigmoid": lambda n: n.builder.emit("hard_sigmoid", [n.tensor()], {"alpha": n.real("alpha", 0.2), "beta": n.real("beta", 0.5)}),
    "Gelu": lambda n: n.builder.emit("gelu", [n.tensor()], {"approximate": n.text("approximate", "none")}),
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
}
