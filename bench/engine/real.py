"""A workload from a real model file: an ONNX classifier and made-up fine-tunes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from bench.engine.contenders import Workload
from bench.engine.networks import Network
from gpuworker.core.errors import UserError
from gpuworker.core.formats import read_model
from gpuworker.core.program.execute import run
from gpuworker.core.program.keys import content_key
from gpuworker.core.program.model import Program, Weight

Tensor = torch.Tensor
SIBLINGS = 8
BATCH = 8
_LARGEST = 4 << 20


class PlainLoop(nn.Module):
    """A program as a module: run operator by operator, as the product does without the engine."""

    def __init__(self, program: Program, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.program, self.tensors = program, tensors

    def forward(self, x: Tensor) -> Tensor:
        return run(self.program, self.tensors, {self.program.inputs[0].name: x}, str(x.device))[self.program.outputs[0].name]


def onnx_workload(folder: Path) -> Workload | None:
    """The first small image classifier of the folder that can be read, as siblings with another last matrix each. None: there is none."""
    for path in sorted(folder.rglob("*.onnx")):
        if path.stat().st_size > _LARGEST:
            continue
        try:
            with path.open("rb") as stream:
                model = read_model("onnx", {path.name: stream})
        except UserError:
            continue
        program = model.program
        if len(program.inputs) != 1 or program.fixed_batch is not None or len(program.outputs) != 1:
            continue
        (item,) = program.inputs
        if item.dtype == "float32" and len(item.shape) == 4 and None not in item.shape[1:] and any(op.name == "conv" for op in program.ops):
            x = torch.rand(BATCH, *[size or 1 for size in item.shape[1:]])
            networks = [_sibling(program, model.tensors, seed) for seed in range(SIBLINGS)]
            return Workload(f"{SIBLINGS} fine-tunes of {path.name} (eager = plain loop)", networks, ["x"] * SIBLINGS, {"x": x})
    return None


def _sibling(program: Program, tensors: Mapping[str, Tensor], seed: int) -> Network:
    """Another last matrix, the rest as it is. Outputs are called "y" as those of the other networks."""
    torch.manual_seed(seed)
    place = next(place for place, weight in enumerate(program.weights) if len(weight.shape) > 1 and weight.dtype == "float32")
    old = program.weights[place]
    new = tensors[old.key] * (1 + 0.1 * torch.randn(old.shape))
    weights = list(program.weights)
    weights[place] = Weight(content_key(new), old.dtype, old.shape)
    output = type(program.outputs[0])("y", program.outputs[0].value)
    made = Program(program.inputs, tuple(weights), program.ops, (output,), program.fixed_batch)
    own = {key: tensor for key, tensor in tensors.items() if key != old.key} | {weights[place].key: new}
    return Network(PlainLoop(made, own), made, own)
