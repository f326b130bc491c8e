"""What every reader gives back: the program, its tensors, and the facts a model page shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from gpuworker.core.program.model import Input, Program
from gpuworker.core.program.ops.kind import DTYPES


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts about a model file. parameters: elements of its float tensors. bytes: of all its tensors.

    labels: names the file itself gives its classes, in output order; often empty. notes: what the reader left out and why.
    """

    format: str
    producer: str
    opset: str
    parameters: int
    bytes: int
    op_counts: Mapping[str, int]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    family: str
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class ReadModel:
    """tensors: by content key, on the CPU, every weight of the program and nothing else."""

    program: Program
    tensors: Mapping[str, torch.Tensor]
    facts: ModelFacts


def facts_of(
    program: Program, format_key: str, producer: str, opset: str, labels: tuple[str, ...] = (), notes: tuple[str, ...] = ()
) -> ModelFacts:
    """The facts that follow from the program itself, joined with what the file says about its making."""
    sizes = [(weight, _elements(weight.shape)) for weight in program.weights]
    return ModelFacts(
        format=format_key,
        producer=producer[:100],
        opset=opset[:100],
        parameters=sum(size for weight, size in sizes if DTYPES[weight.dtype].is_floating_point),
        bytes=sum(size * DTYPES[weight.dtype].itemsize for weight, size in sizes),
        op_counts=dict(sorted(Counter(op.name for op in program.ops).items())),
        inputs=program.inputs,
        outputs=tuple(output.name for output in program.outputs),
        family=family(program),
        labels=labels,
        notes=notes,
    )


def family(program: Program) -> str:
    """A guess at the architecture family from the operators alone."""
    counts = Counter(op.name for op in program.ops)
    if counts["tree_ensemble"]:
        return "Tree ensemble"
    if counts["lstm"] or counts["gru"] or counts["rnn"]:
        return "RNN"
    weights = {f"w{place}" for place in range(len(program.weights))}
    products = sum(op.name == "matmul" and not weights & set(op.inputs) for op in program.ops)
    if counts["attention"] or (products >= 2 and counts["softmax"] > counts["conv"]) or (products >= 2 and counts["layer_norm"]):
        return "Transformer"
    if counts["conv"] or counts["conv_transpose"]:
        return "CNN"
    layers = counts["linear"] + counts["matmul"]
    if counts["embedding"] or counts["embedding_bag"]:
        return "Embedding bag" if layers else "Other"
    return "MLP" if layers > 1 else "Linear" if layers else "Other"


def _elements(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
