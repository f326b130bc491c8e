"""One tiny run of everything, so that a process which may no longer open files has loaded all it needs."""

from __future__ import annotations

import torch

from gpuworker.core.formats import onnx
from gpuworker.core.program.build import Builder
from gpuworker.core.program.execute import run
from gpuworker.core.program.model import Input
from gpuworker.core.program.values import Value


def warm_up() -> None:
    """Load what torch and onnx load on first use; leaves torch on one thread."""
    torch.set_num_threads(1)
    onnx.warm_up()
    builder = Builder((Input("image", "float32", (None, 1, 8, 8)), Input("tokens", "int64", (None, 4))))
    image, tokens = builder.inputs
    outputs = [("image", _convolution(builder, image)), ("text", _text(builder, builder.emit("embedding", [_ones(builder, 4, 8), tokens])))]
    program, tensors = builder.finish(outputs)
    for dtype in (torch.float32, torch.float16):
        half = torch.ones(2, 2, dtype=dtype)
        (half @ half).softmax(-1)
    run(program, tensors, {"image": torch.ones(2, 1, 8, 8), "tokens": torch.ones(2, 4, dtype=torch.int64)})


def _ones(builder: Builder, *shape: int) -> Value:
    return builder.weight(torch.full(shape, 0.1))


def _convolution(builder: Builder, image: Value) -> Value:
    x = builder.emit("conv", [image, _ones(builder, 4, 1, 3, 3), _ones(builder, 4)], {"pads": [1, 1, 1, 1]})
    x = builder.emit("batch_norm", [x, *(_ones(builder, 4) for _ in range(4))])
    x = builder.emit("gelu", [builder.emit("max_pool", [x], {"kernel": [2, 2], "stride": [2, 2]})])
    x = builder.emit("group_norm", [x, _ones(builder, 4), _ones(builder, 4)], {"groups": 2})
    x = builder.emit("resize", [x], {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "linear"})
    x = builder.emit("avg_pool", [x], {"kernel": [2, 2], "stride": [2, 2]})
    return builder.emit("linear", [builder.reshape(x, [0, -1]), _ones(builder, 3, 64), _ones(builder, 3)])


def _text(builder: Builder, x: Value) -> Value:
    x = builder.emit("layer_norm", [x, _ones(builder, 8), _ones(builder, 8)])
    x = builder.emit("attention", [x, x, x])
    weights = [_ones(builder, 32, 8), _ones(builder, 32, 8), _ones(builder, 32), _ones(builder, 32)]
    x = builder.emit_many("lstm", [x, None, None, *weights], {"batch_first": True}, 3)[0]
    weights = [_ones(builder, 24, 8), _ones(builder, 24, 8), _ones(builder, 24), _ones(builder, 24)]
    x = builder.emit_many("gru", [x, None, *weights], {"batch_first": True}, 2)[0]
    return builder.emit("softmax", [builder.emit("mean", [x], {"dims": [1]})])
