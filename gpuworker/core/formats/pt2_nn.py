"""ATen layers: linear algebra, convolution, pooling, normalisation, attention, recurrent layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpuworker.core.formats.onnx_recurrent import is_zero_value
from gpuworker.core.formats.pt2_call import Call, Handler
from gpuworker.core.program.values import Value

_BAGS = ("sum", "mean", "max")


def linear(c: Call) -> Value:
    return c.emit("linear", c.tensor("input"), c.tensor("weight"), c.maybe("bias"))


def matmul(c: Call) -> Value:
    x, y = c.tensor("self"), c.tensor("mat2" if "mat2" in c.args else "other")
    if y.constant is not None and y.rank == 2 and x.constant is None:
        return c.emit("linear", x, c.builder.permute(y, [1, 0]))
    return c.emit("matmul", x, y)


def addmm(c: Call) -> Value:
    bias, x, y = c.tensor("self"), c.tensor("mat1"), c.tensor("mat2")
    if c.number("alpha") != 1 or c.number("beta") != 1:
        raise c.refuse("alpha or beta other than 1")
    if y.constant is not None and bias.rank == 1:
        return c.emit("linear", x, c.builder.permute(y, [1, 0]), bias)
    return c.emit("add", c.emit("matmul", x, y), bias)


def baddbmm(c: Call) -> Value:
    if c.number("alpha") != 1 or c.number("beta") != 1:
        raise c.refuse("alpha or beta other than 1")
    return c.emit("add", c.emit("matmul", c.tensor("batch1"), c.tensor("batch2")), c.tensor("self"))


def einsum(c: Call) -> Value:
    equation = c.text("equation").replace(" ", "")
    if "->" not in equation or "." in equation:
        raise c.refuse("an equation without -> or with an ellipsis")
    return c.emit("einsum", *c.tensors("tensors"), equation=equation)


def _spread(values: Sequence[int], rank: int) -> list[int]:
    return list(values) * rank if len(values) == 1 else list(values)


def _ones_gone(values: Sequence[int]) -> list[int]:
    return [] if set(values) <= {1} else list(values)


def conv(c: Call) -> Value:
    x, weight = c.tensor("input"), c.tensor("weight")
    rank = c.rank(weight) - 2
    stride, dilation = _spread(c.integers("stride"), rank), _spread(c.integers("dilation"), rank)
    common = {"stride": _ones_gone(stride), "dilation": _ones_gone(dilation), "groups": c.integer("groups")}
    if isinstance(c.args.get("padding"), str):
        pads = _named_pads(c, weight, dilation)
    else:
        even = _spread(c.integers("padding"), rank)
        pads = [*even, *even]
    common["pads"] = pads if any(pads) else []
    transposed = c.args.get("transposed") or c.target.startswith("conv_transpose")
    if not transposed:
        return c.builder.emit("conv", [x, weight, c.maybe("bias")], common)
    extra = _spread(c.integers("output_padding"), rank)
    return c.builder.emit("conv_transpose", [x, weight, c.maybe("bias")], {**common, "output_padding": extra if any(extra) else []})


def _named_pads(c: Call, weight: Value, dilation: Sequence[int]) -> list[int]:
    if c.text("padding") == "valid":
        return [0] * (2 * len(dilation))
    spans = [step * (int(size or 1) - 1) for step, size in zip(dilation, (weight.shape or ())[2:], strict=True)]
    return [*(span // 2 for span in spans), *(span - span // 2 for span in spans)]


def _pool(rank: int, largest: bool) -> Handler:
    def handler(c: Call) -> Value | list[Value | None]:
        kernel = _spread(c.integers("kernel_size"), rank)
        stride = _spread(c.integers("stride"), rank) if c.has("stride") and c.integers("stride") else kernel
        even = _spread(c.integers("padding"), rank)
        dilation = _spread(c.integers("dilation"), rank) if largest else []
        attributes = {
            "kernel": kernel,
            "stride": _ones_gone(stride),
            "pads": [*even, *even] if any(even) else [],
            "dilation": _ones_gone(dilation),
            "ceil": c.flag("ceil_mode"),
        }
        if largest:
            result = c.builder.emit("max_pool", [c.tensor("self")], attributes)
            return [result, None] if "with_indices" in c.target else result
        if c.has("divisor_override"):
            raise c.refuse("divisor_override")
        count = c.flag("count_include_pad") and any(even)
        return c.builder.emit("avg_pool", [c.tensor("self")], {**attributes, "count_pad": count})

    return handler


def _adaptive(rank: int, largest: bool) -> Handler:
    def handler(c: Call) -> Value | list[Value | None]:
        result = c.emit("adaptive_pool", c.tensor("self"), dims=_spread(c.integers("output_size"), rank), largest=largest)
        return [result, None] if largest else result

    return handler


def batch_norm(c: Call) -> Value | list[Value | None]:
    if c.args.get("training"):
        raise c.refuse("training mode: call model.eval() before exporting")
    parts = [c.tensor("input"), c.maybe("weight"), c.maybe("bias"), c.tensor("running_mean"), c.tensor("running_var")]
    result = c.builder.emit("batch_norm", parts, {"eps": c.number("eps")})
    return [result, None, None] if c.target.startswith("_native") else result


def layer_norm(c: Call) -> Value | list[Value | None]:
    rank = len(c.dims("normalized_shape"))
    if c.target.startswith("rms"):
        return c.emit("rms_norm", c.tensor("input"), c.maybe("weight"), rank=rank, eps=c.args.get("eps"))
    result = c.emit("layer_norm", c.tensor("input"), c.maybe("weight"), c.maybe("bias"), rank=rank, eps=c.number("eps"))
    return [result, None, None] if c.target.startswith("native") else result


def group_norm(c: Call) -> Value:
    groups = c.integer("num_groups")
    return c.emit("group_norm", c.tensor("input"), c.maybe("weight"), c.maybe("bias"), groups=groups, eps=c.number("eps"))


def instance_norm(c: Call) -> Value:
    if not c.flag("use_input_stats"):
        raise c.refuse("running statistics")
    return c.emit("instance_norm", c.tensor("input"), c.maybe("weight"), c.maybe("bias"), eps=c.number("eps"))


def embedding_bag(c: Call) -> list[Value | None]:
    padding = c.args.get("padding_idx")
    attributes = {"mode": _BAGS[c.integer("mode")], "last_offset": c.flag("include_last_offset")}
    parts = [c.tensor("weight"), c.tensor("indices"), c.tensor("offsets"), c.maybe("per_sample_weights")]
    if isinstance(padding, int) and padding >= 0:
        return [c.builder.emit("embedding_bag", parts, {**attributes, "padding_index": padding}), None, None, None]
    return [c.builder.emit("embedding_bag", parts, attributes), None, None, None]


def attention(c: Call) -> Value:
    if c.args.get("enable_gqa") or c.args.get("dropout_p"):
        raise c.refuse("grouped queries, or dropout")
    parts = [c.tensor("query"), c.tensor("key"), c.tensor("value"), c.maybe("attn_mask")]
    return c.builder.emit("attention", parts, {"causal": c.flag("is_causal"), "scale": c.args.get("scale")})


def recurrent(c: Call) -> Sequence[Value]:
    name = c.target.split(".")[0]
    if c.flag("train"):
        raise c.refuse("training mode: call model.eval() before exporting")
    states = c.tensors("hx") if name == "lstm" else [c.tensor("hx")]
    free = [None if is_zero_value(c.builder, state) else state for state in states]
    attributes = {
        "layers": c.integer("num_layers"),
        "biases": c.flag("has_biases"),
        "bidirectional": c.flag("bidirectional"),
        "batch_first": c.flag("batch_first"),
    }
    if name.startswith("rnn"):
        attributes["relu"] = name == "rnn_relu"
    parts = [c.tensor("input"), *free, *c.tensors("params")]
    return c.builder.emit_many("rnn" if name.startswith("rnn") else name, parts, attributes, 3 if name == "lstm" else 2)


def _upsample(mode: str) -> Handler:
    def handler(c: Call) -> Value:
        value = c.tensor("input")
        rank = c.rank(value)
        align = mode != "nearest" and c.flag("align_corners")
        coordinates = "align_corners" if align else "asymmetric" if mode == "nearest" else "pytorch_half_pixel"
        attributes: dict[str, object] = {"mode": mode, "coordinates": coordinates}
        if mode == "nearest":
            attributes["nearest"] = "floor"
        if c.has("output_size"):
            attributes["dims"] = [*c.sizes_of(value)[:2], *c.dims("output_size")]
        else:
            factors = c.args.get("scale_factors")
            if not isinstance(factors, list) or len(factors) != rank - 2:
                raise c.broken("neither sizes nor scale factors are given")
            attributes["scales"] = [1.0, 1.0, *factors]
        return c.builder.emit("resize", [value], attributes)

    return handler


HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(("conv1d.default", "conv2d.default", "conv3d.default", "convolution.default"), conv),
    **dict.fromkeys(("conv1d.padding", "conv2d.padding", "conv3d.padding"), conv),
    **dict.fromkeys(("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input"), conv),
    **dict.fromkeys(("mm.default", "bmm.default", "matmul.default"), matmul),
    **dict.fromkeys(("batch_norm.default", "_native_batch_norm_legit_no_training.default"), batch_norm),
    **dict.fromkeys(("layer_norm.default", "native_layer_norm.default", "rms_norm.default"), layer_norm),
    **dict.fromkeys(("lstm.input", "gru.input", "rnn_tanh.input", "rnn_relu.input"), recurrent),
    **dict.fromkeys(("embedding_bag.padding_idx", "_embedding_bag.default"), embedding_bag),
    **{f"max_pool{rank}d.default": _pool(rank, True) for rank in (1, 2, 3)},
    **{f"max_pool{rank}d_with_indices.default": _pool(rank, True) for rank in (2, 3)},
    **{f"avg_pool{rank}d.default": _pool(rank, False) for rank in (1, 2, 3)},
    **{f"adaptive_avg_pool{rank}d.default": _adaptive(rank, False) for rank in (1, 2, 3)},
    **{f"adaptive_max_pool{rank}d.default": _adaptive(rank, True) for rank in (1, 2, 3)},
    "_adaptive_avg_pool2d.default": _adaptive(2, False),
    "linear.default": linear,
    "addmm.default": addmm,
    "baddbmm.default": baddbmm,
    "einsum.default": einsum,
    "group_norm.default": group_norm,
    "instance_norm.default": instance_norm,
    "embedding.default": lambda c: c.emit("embedding", c.tensor("weight"), c.tensor("indices")),
    "scaled_dot_product_attention.default": attention,
    "upsample_nearest1d.vec": _upsample("nearest"),
    "upsample_nearest2d.vec": _upsample("nearest"),
    "upsample_linear1d.vec": _upsample("linear"),
    "upsample_bilinear2d.vec": _upsample("linear"),
    "upsample_bicubic2d.vec": _upsample("cubic"),
}
