"""Slots: the weights of a template. A derived one names how it is made of others, so that no tensor is needed to plan.

Recipes are a closed table of functions; a derived weight's key is the hash of recipe and source keys, hence equal for equal sources.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from gpuworker.core.engine.operators import run_op

Tensor = torch.Tensor
Parts = Sequence[Tensor | None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """name: a row of RECIPES. options: JSON text of its numbers. sources: slot numbers (None = left out)."""

    name: str
    options: str
    sources: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """One weight of a template: the `place`-th of the program, or made by a recipe."""

    dtype: str
    shape: tuple[int, ...]
    place: int | None = None
    recipe: Recipe | None = None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def _norm_scale(weight: Tensor | None, variance: Tensor, eps: float) -> Tensor:
    scale = torch.rsqrt(variance.double() + eps)
    return scale if weight is None else scale * weight.double()


def norm_weight(parts: Parts, options: Mapping[str, object]) -> Tensor:
    """A layer's weight times what batch normalisation after it multiplies by. parts: layer weight, scale, variance. dim: its outputs."""
    layer, weight, variance = parts
    assert layer is not None and variance is not None
    scale = _norm_scale(weight, variance, float(str(options["eps"])))
    shape = [-1 if dim == options["dim"] else 1 for dim in range(layer.dim())]
    return (layer.double() * scale.reshape(shape)).to(layer.dtype)


def norm_bias(parts: Parts, options: Mapping[str, object]) -> Tensor:
    """What batch normalisation adds, the layer's bias included. parts: layer bias, scale, shift, mean, variance."""
    bias, weight, shift, mean, variance = parts
    assert mean is not None and variance is not None
    start = -mean.double() if bias is None else bias.double() - mean.double()
    result = start * _norm_scale(weight, variance, float(str(options["eps"])))
    return (result if shift is None else result + shift.double()).to(mean.dtype)


def scaled_columns(parts: Parts, options: Mapping[str, object]) -> Tensor:
    """A linear weight (O, I) that takes over the scale (I) of the layer normalisation before it."""
    layer, scale = parts
    assert layer is not None and scale is not None
    return (layer.double() * scale.double()).to(layer.dtype)


def shifted_bias(parts: Parts, options: Mapping[str, object]) -> Tensor:
    """A linear bias (O) that takes over the shift (I) of the layer normalisation before it. parts: weight, bias, shift."""
    layer, bias, shift = parts
    assert layer is not None and shift is not None
    result = layer.double() @ shift.double()
    return (result if bias is None else result + bias.double()).to(layer.dtype)


def folded(parts: Parts, options: Mapping[str, object]) -> Tensor:
    """An operator on constants only."""
    attributes = {
        name: tuple(value) if isinstance(value, list) else float(value) if value in ("inf", "-inf", "nan") else value
        for name, value in dict(options["attributes"]).items()  # type: ignore[call-overload]
    }
    result = run_op(str(options["op"]), parts, attributes)
    assert isinstance(result, Tensor)
    return result.contiguous()


RECIPES: Mapping[str, Callable[[Parts, Mapping[str, object]], Tensor]] = {
    "norm_weight": norm_weight,
    "norm_bias": norm_bias,
    "scaled_columns": scaled_columns,
    "shifted_bias": shifted_bias,
    "folded": folded,
}


def slot_keys(slots: Sequence[Slot], weights: Sequence[str]) -> tuple[str, ...]:
    """One key per slot: the content key of a weight of the program, or the hash of the recipe and its sources' keys."""
    keys: list[str] = []
    for slot in slots:
        if slot.recipe is None:
            assert slot.place is not None
            keys.append(weights[slot.place])
        else:
            sources = [None if source is None else keys[source] for source in slot.recipe.sources]
            keys.append(hashlib.sha256(json.dumps([slot.recipe.name, slot.recipe.options, sources]).encode()).hexdigest())
    return tuple(keys)


def make(slots: Sequence[Slot], number: int, weights: Callable[[int], Tensor]) -> Tensor:
    """The tensor of slot `number`; weights: the program's tensors by their place."""
    slot = slots[number]
    if slot.recipe is None:
        assert slot.place is not None
        return weights(slot.place)
    parts = [None if source is None else make(slots, source, weights) for source in slot.recipe.sources]
    return RECIPES[slot.recipe.name](parts, json.loads(slot.recipe.options))
