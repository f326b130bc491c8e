"""Layers: linear algebra, convolution, pooling, normalisation, embedding, attention, recurrent layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from gpuworker.core.program.ops.kind import Attr, Attributes, OpSpec, check_index, guard, joint_shape

Tensor = torch.Tensor
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE_AVG = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
_ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


def linear(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """x (..., I), weight (O, I), bias (O) or None -> (..., O)."""
    x, weight, bias = (*inputs, None)[:3]
    guard((*x.shape[:-1], weight.shape[0]), "linear")
    return F.linear(x, weight, bias)


def matmul(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x, y = inputs
    if x.dim() > 1 and y.dim() > 1:
        guard((*joint_shape(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1]), "matmul")
    return torch.matmul(x, y)


def einsum(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """The guard bounds the result and, letter by letter, the product of all sizes when there are two inputs or more."""
    left, _, right = a["equation"].partition("->")
    sizes: dict[str, int] = {}
    for letters, x in zip(left.split(","), inputs, strict=True):
        sizes |= dict(zip(letters.strip(), x.shape, strict=True))
    guard([sizes[letter] for letter in right.strip()], "einsum")
    return torch.einsum(a["equation"], *inputs)


def _split_pads(pads: Sequence[int]) -> tuple[list[int] | None, list[int]]:
    """(symmetric padding, or None when the sides differ; the flat list F.pad wants). pads: befores, then afters."""
    half = len(pads) // 2
    before, after = list(pads[:half]), list(pads[half:])
    flat = [size for pair in zip(reversed(before), reversed(after), strict=True) for size in pair]
    return (before if before == after else None), flat


def conv(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """x (N, C, spatial), weight (O, C / groups, kernel), bias (O) or None. pads: before each axis, then after each."""
    x, weight, bias = (*inputs, None)[:3]
    rank = weight.dim() - 2
    pads = a["pads"] or (0,) * (2 * rank)
    _guard_window(x, pads, weight.shape[0], a["stride"], "conv")
    even, flat = _split_pads(pads)
    if even is None:
        x, even = F.pad(x, flat), [0] * rank
    return _CONV[rank](x, weight, bias, a["stride"] or 1, even, a["dilation"] or 1, a["groups"])


def _guard_window(x: Tensor, pads: Sequence[int], channels: int, stride: Sequence[int], what: str) -> None:
    rank = len(pads) // 2
    padded = [size + low + high for size, low, high in zip(x.shape[2:], pads[:rank], pads[rank:], strict=True)]
    guard((x.shape[0], x.shape[1], *padded), what)
    guard((x.shape[0], channels, *(-(-size // step) for size, step in zip(padded, stride or (1,) * rank, strict=True))), what)


def conv_transpose(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """weight (C, O / groups, kernel). Uneven pads are cut after the fact."""
    x, weight, bias = (*inputs, None)[:3]
    rank = weight.dim() - 2
    stride, pads = a["stride"] or (1,) * rank, a["pads"] or (0,) * (2 * rank)
    spans = [
        (size - 1) * step + dilation * (kernel - 1) + 1 + extra
        for size, step, dilation, kernel, extra in zip(
            x.shape[2:], stride, a["dilation"] or (1,) * rank, weight.shape[2:], a["output_padding"] or (0,) * rank, strict=True
        )
    ]
    guard((x.shape[0], weight.shape[1] * a["groups"], *spans), "conv_transpose")
    even, flat = _split_pads(pads)
    y = _CONV_TRANSPOSE[rank](x, weight, bias, stride, even or 0, a["output_padding"] or 0, a["groups"], a["dilation"] or 1)
    return y if even is not None else F.pad(y, [-size for size in flat])


def max_pool(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x: Tensor = inputs[0]
    rank = len(a["kernel"])
    pads = a["pads"] or (0,) * (2 * rank)
    _guard_window(x, pads, x.shape[1], a["stride"], "max_pool")
    even, flat = _split_pads(pads)
    if even is None or any(2 * size > kernel for size, kernel in zip(even, a["kernel"], strict=True)):
        x, even = F.pad(x, flat, value=-math.inf), [0] * rank
    return _MAX_POOL[rank](x, list(a["kernel"]), list(a["stride"] or (1,) * rank), even, list(a["dilation"] or (1,) * rank), a["ceil"])


def avg_pool(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x: Tensor = inputs[0]
    rank = len(a["kernel"])
    pads = a["pads"] or (0,) * (2 * rank)
    _guard_window(x, pads, x.shape[1], a["stride"], "avg_pool")
    even, flat = _split_pads(pads)
    pool, kernel, stride = _AVG_POOL[rank], list(a["kernel"]), list(a["stride"] or (1,) * rank)
    if even is not None and not any(2 * size > width for size, width in zip(even, kernel, strict=True)):
        return pool(x, kernel, stride, even, a["ceil"], a["count_pad"])
    mean = pool(F.pad(x, flat), kernel, stride, 0, a["ceil"], True)
    if a["count_pad"]:
        return mean
    inside = F.pad(torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device), flat)
    return mean / pool(inside, kernel, stride, 0, a["ceil"], True)


def adaptive_pool(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x: Tensor = inputs[0]
    guard((*x.shape[:2], *a["dims"]), "adaptive_pool")
    table: dict[int, Any] = _ADAPTIVE_MAX if a["largest"] else _ADAPTIVE_AVG
    result: Tensor = table[len(a["dims"])](x, list(a["dims"]))
    return result


def batch_norm(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """x (N, C, ...), then weight, bias, mean, variance (C); weight and bias may be None."""
    x, weight, bias, mean, variance = inputs
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, a["eps"])


def layer_norm(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """Over the last `rank` dimensions."""
    x, weight, bias = (*inputs, None, None)[:3]
    return F.layer_norm(x, x.shape[x.dim() - a["rank"] :], weight, bias, a["eps"])


def rms_norm(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x, weight = (*inputs, None)[:2]
    return F.rms_norm(x, x.shape[x.dim() - a["rank"] :], weight, a["eps"])


def group_norm(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x, weight, bias = (*inputs, None, None)[:3]
    return F.group_norm(x, a["groups"], weight, bias, a["eps"])


def instance_norm(inputs: Sequence[Any], a: Attributes) -> Tensor:
    x, weight, bias = (*inputs, None, None)[:3]
    return F.instance_norm(x, None, None, weight, bias, True, 0.0, a["eps"])


def local_response_norm(inputs: Sequence[Any], a: Attributes) -> Tensor:
    return F.local_response_norm(inputs[0], a["size"], a["alpha"], a["beta"], a["k"])


def lp_normalize(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """x / norm along `dim`; a zero norm leaves zeros. order 0 = largest magnitude."""
    x: Tensor = inputs[0]
    norm = x.abs().amax(a["dim"], True) if a["order"] == 0 else torch.linalg.vector_norm(x, a["order"], a["dim"], True)
    return x / torch.where(norm == 0, torch.ones_like(norm), norm)


def embedding(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """weight (V, D), indices (...) -> (..., D)."""
    weight, indices = inputs
    guard((*indices.shape, *weight.shape[1:]), "embedding")
    check_index(indices, weight.shape[0], "embedding")
    if indices.dtype not in (torch.int32, torch.int64):
        indices = indices.to(torch.int64)
    return F.embedding(torch.where(indices < 0, indices + weight.shape[0], indices), weight)


def embedding_bag(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """weight (V, D), indices (K), offsets (N), optional weights per index (K) -> (N, D)."""
    weight, indices, offsets, per_index = (*inputs, None)[:4]
    guard((offsets.shape[0], weight.shape[1]), "embedding_bag")
    check_index(indices, weight.shape[0], "embedding_bag")
    options = {"per_sample_weights": per_index, "include_last_offset": a["last_offset"], "padding_idx": a["padding_index"]}
    return F.embedding_bag(indices, weight, offsets, mode=a["mode"], **options)


def attention(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """Scaled dot-product attention: q (..., L, E), k (..., S, E), v (..., S, D), mask bool (True = look) or additive."""
    q, k, v, mask = (*inputs, None)[:4]
    guard((*q.shape[:-1], k.shape[-2]), "attention")
    return F.scaled_dot_product_attention(q, k, v, mask, 0.0, a["causal"], scale=a["scale"])


def lstm(inputs: Sequence[Any], a: Attributes) -> tuple[Tensor, ...]:
    """x, h0 or None, c0 or None, then torch's flat weights. Gives the sequence, h, c."""
    x, h0, c0, *weights = inputs
    state = _state(x, a, weights)
    result = torch.lstm(x, (state if h0 is None else h0, state if c0 is None else c0), weights, *_flags(a))
    return tuple(result)


def gru(inputs: Sequence[Any], a: Attributes) -> tuple[Tensor, ...]:
    x, h0, *weights = inputs
    return tuple(torch.gru(x, _state(x, a, weights) if h0 is None else h0, weights, *_flags(a)))


def rnn(inputs: Sequence[Any], a: Attributes) -> tuple[Tensor, ...]:
    x, h0, *weights = inputs
    function = torch.rnn_relu if a["relu"] else torch.rnn_tanh
    return tuple(function(x, _state(x, a, weights) if h0 is None else h0, weights, *_flags(a)))


def _state(x: Tensor, a: Attributes, weights: Sequence[Tensor]) -> Tensor:
    batch = x.shape[0 if a["batch_first"] else 1]
    return torch.zeros((a["layers"] * (1 + a["bidirectional"]), batch, weights[1].shape[1]), dtype=x.dtype, device=x.device)


def _flags(a: Attributes) -> tuple[bool, int, float, bool, bool, bool]:
    return a["biases"], a["layers"], 0.0, False, a["bidirectional"], a["batch_first"]


_EPS = Attr("float", 1e-5)
_LIST = Attr("ints", ())
_WINDOW = {"stride": _LIST, "pads": _LIST, "dilation": _LIST}
_RNN = {"layers": Attr("int", 1), "biases": Attr("bool", True), "bidirectional": Attr("bool", False), "batch_first": Attr("bool", False)}
_POOL = _WINDOW | {"kernel": Attr("ints", required=True), "ceil": Attr("bool", False)}
_RANK = {"rank": Attr("int", 1), "eps": _EPS}
ALL: tuple[OpSpec, ...] = (
    OpSpec("linear", linear, (2, 3)),
    OpSpec("matmul", matmul, (2, 2)),
    OpSpec("einsum", einsum, (1, 8), {"equation": Attr("text", required=True)}),
    OpSpec("conv", conv, (2, 3), _WINDOW | {"groups": Attr("int", 1)}),
    OpSpec("conv_transpose", conv_transpose, (2, 3), _WINDOW | {"groups": Attr("int", 1), "output_padding": _LIST}),
    OpSpec("max_pool", max_pool, (1, 1), _POOL),
    OpSpec("avg_pool", avg_pool, (1, 1), _POOL | {"count_pad": Attr("bool", False)}),
    OpSpec("adaptive_pool", adaptive_pool, (1, 1), {"dims": Attr("ints", required=True), "largest": Attr("bool", False)}),
    OpSpec("batch_norm", batch_norm, (5, 5), {"eps": _EPS}),
    OpSpec("layer_norm", layer_norm, (1, 3), _RANK),
    OpSpec("rms_norm", rms_norm, (1, 2), {"rank": Attr("int", 1), "eps": Attr("float", optional=True)}),
    OpSpec("group_norm", group_norm, (1, 3), {"groups": Attr("int", required=True), "eps": _EPS}),
    OpSpec("instance_norm", instance_norm, (1, 3), {"eps": _EPS}),
    OpSpec(
        "local_response_norm",
        local_response_norm,
        (1, 1),
        {"size": Attr("int", required=True), "alpha": Attr("float", 1e-4), "beta": Attr("float", 0.75), "k": Attr("float", 1.0)},
    ),
    OpSpec("lp_normalize", lp_normalize, (1, 1), {"dim": Attr("int", -1), "order": Attr("int", 2)}),
    OpSpec("softmax", lambda i, a: torch.softmax(i[0], a["dim"]), (1, 1), {"dim": Attr("int", -1)}),
    OpSpec("log_softmax", lambda i, a: torch.log_softmax(i[0], a["dim"]), (1, 1), {"dim": Attr("int", -1)}),
    OpSpec("embedding", embedding, (2, 2)),
    OpSpec(
        "embedding_bag",
        embedding_bag,
        (3, 4),
        {
            "mode": Attr("text", "mean", choices=("sum", "mean", "max")),
            "last_offset": Attr("bool", False),
            "padding_index": Attr("int", optional=True),
        },
    ),
    OpSpec("attention", attention, (3, 4), {"causal": Attr("bool", False), "scale": Attr("float", optional=True)}),
    OpSpec("lstm", lstm, (5, 512), _RNN, outputs=(1, 3)),
    OpSpec("gru", gru, (4, 512), _RNN, outputs=(1, 2)),
    OpSpec("rnn", rnn, (4, 512), _RNN | {"relu": Attr("bool", False)}, outputs=(1, 2)),
)
