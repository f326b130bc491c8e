"""The operators an engine graph may hold: the program's own, and two fused ones that its rewrites make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from gpuworker.core.program.ops import OPS
from gpuworker.core.program.ops.kind import Attributes

Tensor = torch.Tensor
CONV, LINEAR, OPAQUE, FEED = "conv+", "linear+", "opaque", "feed"

# Activations that a fused operator may end with. Each writes into what it is given, which nobody else holds.
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "gelu": torch.ops.aten.gelu_.default,
    "sigmoid": torch.sigmoid_,
    "tanh": torch.tanh_,
    "silu": lambda x: F.silu(x, inplace=True),
    "hardswish": lambda x: F.hardswish(x, inplace=True),
}

# Element-wise operators of one tensor: result of the same shape and layout, and nothing else to know.
POINTWISE = frozenset(
    {
        "relu", "relu6", "sigmoid", "tanh", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "abs", "neg", "reciprocal", "floor",
        "ceil", "round", "trunc", "sign", "erf", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh",
        "silu", "mish", "hardswish", "softsign", "log_sigmoid", "logical_not", "bitwise_not", "isnan", "isinf", "clamp", "gelu",
        "leaky_relu", "elu", "celu", "selu", "softplus", "hard_sigmoid", "thresholded_relu", "cast",
    }
)  # fmt: skip
BINARY = frozenset(
    {
        "add", "sub", "mul", "div", "floor_div", "mod", "fmod", "pow", "minimum", "maximum", "atan2", "eq", "ne", "lt", "le", "gt", "ge",
        "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "div_trunc",
    }
)  # fmt: skip
# Operators whose first tensor can be written over when nobody else needs it.
OVERWRITING: Mapping[str, Callable[..., Tensor]] = {
    "relu": torch.relu_,
    "sigmoid": torch.sigmoid_,
    "tanh": torch.tanh_,
    "add": Tensor.add_,
    "mul": Tensor.mul_,
}
# Operators whose result is new memory whatever they are given: only such a result may be written over.
FRESH = frozenset(
    {
        CONV, LINEAR, "conv", "linear", "matmul", "conv_transpose", "batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm",
        "max_pool", "avg_pool", "attention", "embedding", "softmax", "add", "sub", "mul", "div", "relu", "gelu", "sigmoid", "tanh", "silu",
    }
)  # fmt: skip
# Operators that begin a new piece of work: a chain is cut before them.
WEIGHTED = frozenset(
    {
        CONV, LINEAR, "conv", "linear", "conv_transpose", "layer_norm", "rms_norm", "group_norm", "embedding", "embedding_bag",
        "lstm", "gru", "rnn", "tree_ensemble", "attention", "matmul", "einsum",
    }
)  # fmt: skip


def fused(plain: Callable[[Sequence[Any], Attributes], Tensor]) -> Callable[[Sequence[Any], Attributes], Tensor]:
    """A layer, then another tensor added (inputs[3], if `add`), then an activation (`act`, "" for none)."""

    def run(inputs: Sequence[Any], a: Attributes) -> Tensor:
        x, weight, bias, other = (*inputs, None, None)[:4]
        y = plain([x, weight, bias], a)
        if other is not None:
            y = y.add_(other)
        return ACTIVATIONS[a["act"]](y) if a["act"] else y

    return run


_FUSED = {CONV: fused(OPS["conv"].run), LINEAR: fused(OPS["linear"].run)}


def run_op(name: str, inputs: Sequence[Any], attributes: Attributes) -> Any:
    """One operator on tensors, its sizes filled in; guarded as the program's operators are. Raises what the operator raises."""
    function = _FUSED.get(name) or OPS[name].run
    return function(inputs, attributes)


def gives_size(name: str) -> bool:
    """Whether the result is a plain integer."""
    return name in OPS and OPS[name].gives_int
