"""One operator of several models at once: same structure, other weights. Every operator has a way, at worst one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from gpuworker.core.engine import merged_layers as layers
from gpuworker.core.engine import merged_shapes as shapes_
from gpuworker.core.engine.kernels import Form, Shape, Target, general, kernel
from gpuworker.core.engine.layouts import Lie, alike, member
from gpuworker.core.engine.merge_call import Call, MergedKernel
from gpuworker.core.engine.operators import BINARY, POINTWISE, gives_size
from gpuworker.core.engine.templates import TemplateStep

Tensor = torch.Tensor
Rule = Callable[[Call], MergedKernel | None]

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(POINTWISE, shapes_.pointwise),
    **dict.fromkeys([*BINARY, "where", "prelu"], shapes_.broadcasting),
    **dict.fromkeys(["sum", "mean", "amax", "amin", "logsumexp", "norm1", "norm2", "any", "all", "var", "prod"], shapes_.reduction),
    **dict.fromkeys(["softmax", "log_softmax", "argmax", "cumsum", "topk", "lp_normalize", "select", "slice", "concat"], shapes_.shifted),
    "reshape": shapes_.reshape,
    "permute": shapes_.permute,
    "size": shapes_.size,
    "matmul": shapes_.matmul,
    "embedding": layers.embedding,
    **dict.fromkeys(["linear", "linear+"], layers.linear),
    **dict.fromkeys(["conv", "conv+"], layers.conv),
    **dict.fromkeys(["layer_norm", "rms_norm"], layers.layer_norm),
    **dict.fromkeys(["group_norm", "instance_norm", "batch_norm"], layers.channel_norm),
    **dict.fromkeys(["max_pool", "avg_pool", "adaptive_pool"], layers.pool),
    "attention": layers.attention,
    **dict.fromkeys(["lstm", "gru"], layers.recurrent),
}


def merged(step: TemplateStep, lies: Sequence[Lie | None], g: int, shapes: Sequence[Shape | None], target: Target) -> MergedKernel:
    """The kernel of one step for g members. lies: how each operand lies (None where it is left out)."""
    call = Call(step, tuple(lies), g, tuple(shapes), target)
    if all(lie in (None, "same", "common") for lie in lies):
        single = kernel(step, shapes, target)
        return MergedKernel(single.function, dict(single.forms), alike("same", step.kind.outputs))
    rule = RULES.get(step.kind.name)
    return (rule(call) if rule is not None else None) or one_by_one(call)


def one_by_one(call: Call) -> MergedKernel:
    """Each member by itself, and the results stacked. Weights that differ are handed over stacked."""
    step, g = call.step, call.g
    function, lies = general(step), call.lies
    size, many = gives_size(step.kind.name), step.kind.outputs > 1
    forms = {place: Form("stacked") for place, lie in enumerate(lies) if lie == "own"}
    spread = tuple("stack" if lie == "own" else lie for lie in lies)

    def run(*operands: Any) -> Any:
        results = []
        for place in range(g):
            own = [
                member(x, lie, place, g) if isinstance(x, Tensor) and lie in ("stack", "wide") else x
                for x, lie in zip(operands, spread, strict=True)
            ]
            results.append(function(*own))
        if size:
            return results[0]
        if many:
            return tuple(torch.stack([result[place] for result in results]) for place in range(step.kind.outputs))
        return torch.stack([result[0] if isinstance(result, tuple) else result for result in results])

    return MergedKernel(run, forms, alike("same" if size else "stack", step.kind.outputs), alone=True)
