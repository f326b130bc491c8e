"""Small networks for the engine's tests, built straight into programs, with weights that fine-tunes share or change."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch

from gpuworker.core.formats.architectures import ARCHITECTURES, Config, Net
from gpuworker.core.program.build import Builder
from gpuworker.core.program.execute import run
from gpuworker.core.program.model import Input, Program
from gpuworker.core.program.values import Value

Tensor = torch.Tensor
Made = tuple[Program, dict[str, Tensor]]

RESNET: Mapping[str, Any] = {
    "architecture": "resnet_cifar", "blocks": 1, "channels": [4, 8], "in_channels": 3, "height": 8, "width": 8, "classes": 5,
}  # fmt: skip
TRANSFORMER: Mapping[str, Any] = {
    "architecture": "transformer", "vocabulary": 30, "width": 16, "heads": 2, "max_length": 12, "layers": 3, "feed_forward": 24,
    "classes": 4, "activation": "gelu",
}  # fmt: skip
MLP: Mapping[str, Any] = {"architecture": "mlp", "inputs": 6, "hidden": [8, 8], "classes": 3, "activation": "relu"}
CNN1D: Mapping[str, Any] = {
    "architecture": "cnn1d", "channels": [4, 6], "in_channels": 2, "window": 16, "classes": 3, "kernel": 3,
}  # fmt: skip
TEXT: Mapping[str, Any] = {"architecture": "text_mean", "vocabulary": 30, "embedding_size": 8, "hidden": [8], "classes": 3}
FAMILIES = {"resnet": RESNET, "transformer": TRANSFORMER, "mlp": MLP, "cnn1d": CNN1D, "text": TEXT}


def weight(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """A weight that depends on its name and the seed alone. Variances are positive."""
    source = torch.Generator().manual_seed(zlib.crc32(name.encode()) * 1000 + seed)
    if name.endswith("running_var"):
        return torch.rand(shape, generator=source) + 0.5
    scale = 0.4 if len(shape) > 1 else 0.2
    drawn = torch.randn(shape, generator=source) * scale
    return drawn + 1 if len(shape) == 1 and name.endswith("weight") else drawn


def net(config: Mapping[str, Any], seed: int = 0, own: Collection[str] = ("",)) -> Made:
    """A model of one of the catalog's architectures. own: prefixes of the weights that take `seed`; the others take seed 0."""
    architecture = ARCHITECTURES[config["architecture"]]
    settings = Config(config)

    def build(tensors: Mapping[str, Tensor]) -> tuple[Builder, Net, Value]:
        builder = Builder((architecture.port(settings),))
        made = Net(builder, tensors, {})
        return builder, made, architecture.build(made, settings, builder.inputs[0])

    _, empty, _ = build({})
    names = {name: weight(name, shape, seed if name.startswith(tuple(own)) else 0) for name, shape in empty.wanted.items()}
    builder, _, output = build(names)
    return builder.finish([("logits", output)])


def one(build: Callable[[Builder, Value, Callable[..., Value]], Value], port: Input, seed: int) -> Made:
    """A network made by hand: build(builder, input, weight(name, *shape)) gives the output."""
    builder = Builder((port,))
    return builder.finish([("y", build(builder, builder.inputs[0], lambda name, *shape: builder.weight(weight(name, shape, seed))))])


def samples(program: Program, count: int, seed: int = 0, length: int = 10) -> dict[str, Tensor]:
    """Inputs of a program: whole numbers below 30 or normal ones."""
    source = torch.Generator().manual_seed(seed)
    made = {}
    for item in program.inputs:
        shape = [count if place == 0 else length if size is None else size for place, size in enumerate(item.shape)]
        integers = item.dtype == "int64"
        made[item.name] = torch.randint(0, 30, shape, generator=source) if integers else torch.randn(shape, generator=source)
    return made


def loop(models: list[Made], inputs: Mapping[str, Tensor], chunk: int) -> list[dict[str, Tensor]]:
    """What the plain runner says, chunk by chunk."""
    count = len(next(iter(inputs.values())))
    results = []
    for program, tensors in models:
        parts = [run(program, tensors, {name: x[a : a + chunk] for name, x in inputs.items()}) for a in range(0, count, chunk)]
        results.append({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    return results
