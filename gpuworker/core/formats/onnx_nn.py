"""ONNX layers: linear algebra, convolution, pooling, normalisation, resizing, recurrent layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from gpuworker.core.formats.onnx_node import Node, Result
from gpuworker.core.formats.onnx_recurrent import recurrent
from gpuworker.core.program.values import Dim, Value


def matmul(n: Node) -> Result:
    x, y = n.tensor(0), n.tensor(1)
    if y.constant is not None and y.rank == 2 and x.constant is None:
        return n.builder.emit("linear", [x, n.builder.permute(y, [1, 0])])
    return n.builder.emit("matmul", [x, y])


def gemm(n: Node) -> Result:
    """alpha * A' B' + beta * C, which is a linear layer whenever B is a constant."""
    x, y, bias = n.tensor(0), n.tensor(1), n.maybe(2)
    if n.integer("transA", 0):
        x = n.builder.permute(x, [1, 0])
    if not n.integer("transB", 0):
        y = n.builder.permute(y, [1, 0])
    y = _times(n, y, n.real("alpha", 1.0))
    bias = _times(n, bias, n.real("beta", 1.0)) if bias is not None else None
    if bias is not None and bias.constant is not None and y.constant is not None:
        outputs = y.constant.shape[0]
        if bias.constant.numel() == outputs and bias.constant.shape[-1:] in ((outputs,), (1,)) and (bias.rank or 0) <= 2:
            flat = bias.constant.shape[0] == 1 or bias.rank == 1
            if flat:
                return n.builder.emit("linear", [x, y, n.builder.reshape(bias, [-1])])
        if bias.constant.numel() == 1:
            return n.builder.emit("linear", [x, y, n.builder.weight(bias.constant.reshape(1).expand(outputs).contiguous())])
    product = n.builder.emit("linear", [x, y])
    return product if bias is None else n.builder.emit("add", [product, bias])


def _times(n: Node, value: Value, factor: float) -> Value:
    return value if factor == 1.0 else n.builder.emit("mul", [value, n.builder.scalar(factor, value.dtype)])


def _window(n: Node, value: Value, kernel: Sequence[int]) -> dict[str, list[int]]:
    """stride, pads and dilation of a sliding window, automatic padding worked out from the input's sizes."""
    rank = len(kernel)
    strides, dilations = n.int_list("strides", [1] * rank), n.int_list("dilations", [1] * rank)
    pads = n.int_list("pads", [0] * (2 * rank))
    auto = n.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [], []
        for size, width, stride, dilation in zip(n.shape(value)[2:], kernel, strides, dilations, strict=True):
            if size is None and stride != 1:
                raise n.refuse("automatic padding of an axis of unknown size")
            span = dilation * (width - 1) + 1
            total = span - 1 if size is None else max((-(-size // stride) - 1) * stride + span - size, 0)
            small, large = total // 2, total - total // 2
            before.append(small if auto == "SAME_UPPER" else large)
            after.append(large if auto == "SAME_UPPER" else small)
        pads = before + after
    elif auto == "VALID":
        pads = [0] * (2 * rank)
    elif auto != "NOTSET":
        raise n.refuse(f"auto_pad {auto}")
    if len(pads) != 2 * rank or len(strides) != rank or len(dilations) != rank or not 1 <= rank <= 3 or min(strides) < 1:
        raise n.broken("kernel, strides, pads and dilations do not fit together, or not 1 to 3 axes")
    return {
        "stride": [] if set(strides) == {1} else strides,
        "pads": pads if any(pads) else [],
        "dilation": [] if set(dilations) == {1} else dilations,
    }


def _kernel(n: Node, weight: Value) -> list[int]:
    found = n.int_list("kernel_shape", [])
    sizes = found or [size or 0 for size in n.shape(weight)[2:]]
    if not sizes or min(sizes) < 1:
        raise n.broken("the kernel is empty")
    return sizes


def conv(n: Node) -> Result:
    x, weight = n.tensor(0), n.tensor(1)
    attributes = {**_window(n, x, _kernel(n, weight)), "groups": n.integer("group", 1)}
    return n.builder.emit("conv", [x, weight, n.maybe(2)], attributes)


def conv_transpose(n: Node) -> Result:
    x, weight = n.tensor(0), n.tensor(1)
    if "output_shape" in n.attributes or n.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise n.refuse("output_shape or automatic padding")
    attributes = {**_window(n, x, _kernel(n, weight)), "groups": n.integer("group", 1), "output_padding": n.int_list("output_padding", [])}
    return n.builder.emit("conv_transpose", [x, weight, n.maybe(2)], attributes)


def pool(n: Node) -> Result:
    if n.outputs > 1:
        raise n.refuse("the second output (indices)")
    x, kernel = n.tensor(), n.int_list("kernel_shape")
    window = _window(n, x, kernel)
    attributes = {**window, "kernel": kernel, "ceil": bool(n.integer("ceil_mode", 0))}
    if n.op == "MaxPool":
        return n.builder.emit("max_pool", [x], attributes)
    if window["dilation"]:
        raise n.refuse("dilations")
    return n.builder.emit("avg_pool", [x], {**attributes, "count_pad": bool(n.integer("count_include_pad", 0)) and bool(window["pads"])})


def global_pool(n: Node) -> Result:
    x = n.tensor()
    return n.builder.emit("adaptive_pool", [x], {"dims": [1] * (n.rank(x) - 2), "largest": n.op == "GlobalMaxPool"})


def batch_norm(n: Node) -> Result:
    if n.integer("training_mode", 0) or n.integer("spatial", 1) != 1:
        raise n.refuse("training mode, or statistics per position")
    return n.builder.emit("batch_norm", [n.tensor(place) for place in range(5)], {"eps": n.real("epsilon", 1e-5)})


def layer_norm(n: Node) -> Result:
    x = n.tensor()
    rank = n.rank(x) - n.axis(n.integer("axis", -1), n.rank(x))
    if n.op == "RMSNormalization":
        return n.builder.emit("rms_norm", [x, n.maybe(1)], {"rank": rank, "eps": n.real("epsilon", 1e-5)})
    if n.outputs > 1:
        raise n.refuse("the outputs Mean and InvStdDev")
    return n.builder.emit("layer_norm", [x, n.maybe(1), n.maybe(2)], {"rank": rank, "eps": n.real("epsilon", 1e-5)})


def group_norm(n: Node) -> Result:
    x, groups = n.tensor(), n.integer("num_groups")
    channels = n.shape(x)[1]
    scale, bias = n.constant(1, "the scale"), n.constant(2, "the bias")
    if channels is not None and scale.shape[0] == groups != channels:
        scale, bias = (value.repeat_interleave(channels // groups) for value in (scale, bias))
    return n.builder.emit(
        "group_norm", [x, n.builder.weight(scale), n.builder.weight(bias)], {"groups": groups, "eps": n.real("epsilon", 1e-5)}
    )


def lrn(n: Node) -> Result:
    attributes = {"size": n.integer("size"), "alpha": n.real("alpha", 1e-4), "beta": n.real("beta", 0.75), "k": n.real("bias", 1.0)}
    return n.builder.emit("local_response_norm", [n.tensor()], attributes)


def lp_normalization(n: Node) -> Result:
    x = n.tensor()
    return n.builder.emit("lp_normalize", [x], {"dim": n.axis(n.integer("axis", -1), n.rank(x)), "order": n.integer("p", 2)})


def upsample(n: Node) -> Result:
    scales = n.constant(1, "the list of scales").tolist() if n.has(1) else n.number_list("scales")
    mode = n.text("mode", "nearest")
    return _resize(n, [], scales, "linear" if mode in ("linear", "bilinear") else mode, "asymmetric", "floor")


def resize(n: Node) -> Result:
    if n.opset < 11:
        return _resize(n, [], n.constant(1, "the list of scales").tolist(), n.text("mode", "nearest"), "asymmetric", "floor")
    coordinates = n.text("coordinate_transformation_mode", "half_pixel")
    plain = (
        n.text("keep_aspect_ratio_policy", "stretch") == "stretch" and not n.integer("antialias", 0) and not n.integer("exclude_outside", 0)
    )
    if coordinates == "tf_crop_and_resize" or not plain:
        raise n.refuse("cropping, antialiasing or keeping the aspect ratio")
    scales = n.constant(2, "the list of scales").tolist() if n.has(2) else []
    sizes: list[Dim] = n.dims(3) if n.has(3) else []
    if "axes" in n.attributes:
        rank = n.rank(n.tensor())
        axes = [n.axis(axis, rank) for axis in n.int_list("axes")]
        sizes = [sizes[axes.index(place)] if place in axes else n.builder.size(n.tensor(), place) for place in range(rank)] if sizes else []
        scales = [scales[axes.index(place)] if place in axes else 1.0 for place in range(rank)] if scales else []
    return _resize(n, sizes, scales, n.text("mode", "nearest"), coordinates, n.text("nearest_mode", "round_prefer_floor"))


def _resize(n: Node, sizes: Sequence[Dim], scales: Sequence[float], mode: str, coordinates: str, nearest: str) -> Value:
    x = n.tensor()
    sizes = [n.builder.size(x, 0), *sizes[1:]] if sizes and sizes[0] == n.builder.declared_batch else list(sizes)
    attributes: dict[str, object] = {"dims": sizes, "scales": [] if sizes else scales, "mode": mode, "coordinates": coordinates}
    if mode == "nearest":
        attributes["nearest"] = nearest
    if mode == "cubic":
        attributes["cubic"] = n.real("cubic_coeff_a", -0.75)
    return n.builder.emit("resize", [x], attributes)


def einsum(n: Node) -> Result:
    equation = n.text("equation").replace(" ", "")
    if "->" not in equation or "." in equation:
        raise n.refuse("an equation without -> or with an ellipsis")
    return n.builder.emit("einsum", [n.tensor(place) for place in range(len(n.inputs))], {"equation": equation})


def mean_variance(n: Node) -> Result:
    x = n.tensor()
    dims = {"dims": n.int_list("axes", [0, 2, 3]), "keepdim": True}
    centred = n.builder.emit("sub", [x, n.builder.emit("mean", [x], dims)])
    spread = n.builder.emit("sqrt", [n.builder.emit("mean", [n.builder.emit("mul", [centred, centred])], dims)])
    return n.builder.emit("div", [centred, n.builder.emit("add", [spread, n.builder.scalar(1e-9, torch.float32)])])


HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "MatMul": matmul,
    "Gemm": gemm,
    "Einsum": einsum,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": pool,
    "AveragePool": pool,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "InstanceNormalization": lambda n: n.builder.emit(
        "instance_norm", [n.tensor(0), n.tensor(1), n.tensor(2)], {"eps": n.real("epsilon", 1e-5)}
    ),
    "MeanVarianceNormalization": mean_variance,
    "LRN": lrn,
    "LpNormalization": lp_normalization,
    "Upsample": upsample,
    "Resize": resize,
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
}
