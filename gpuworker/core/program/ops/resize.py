"""Resize along any axes by nearest, linear or cubic sampling, with the coordinate rules of ONNX (which include torch's)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from gpuworker.core.program.ops.kind import Attr, Attributes, OpSpec, guard

Tensor = torch.Tensor
_COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
_NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def resize(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """dims: sizes to reach (empty: take `scales`). Each axis whose size or scale changes is sampled by itself."""
    x: Tensor = inputs[0]
    scales = a["scales"] or [size / old for size, old in zip(a["dims"], x.shape, strict=True)]
    sizes = a["dims"] or [math.floor(old * scale) for old, scale in zip(x.shape, scales, strict=True)]
    guard(sizes, "resize")
    for axis, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
        if size != x.shape[axis] or scale != 1:
            x = _along(x, axis, size, scale, a)
    return x


def _along(x: Tensor, axis: int, size: int, scale: float, a: Attributes) -> Tensor:
    old = x.shape[axis]
    places = _source(torch.arange(size, dtype=torch.float64), old, size, scale, a["coordinates"])
    if a["mode"] == "nearest":
        return torch.index_select(x, axis, _round(places, a["nearest"]).clamp(0, old - 1).to(torch.int64).to(x.device))
    floors = torch.floor(places)
    fraction = places - floors
    if a["mode"] == "linear":
        taps = [(0, 1 - fraction), (1, fraction)]
    else:
        taps = list(zip((-1, 0, 1, 2), _cubic(fraction, a["cubic"]), strict=True))
    view = [-1 if place == axis else 1 for place in range(x.dim())]
    result: Tensor | None = None
    for offset, weight in taps:
        picks = (floors + offset).clamp(0, old - 1).to(torch.int64).to(x.device)
        part = torch.index_select(x, axis, picks) * weight.to(x.dtype).to(x.device).reshape(view)
        result = part if result is None else result + part
    assert result is not None
    return result


def _source(places: Tensor, old: int, size: int, scale: float, rule: str) -> Tensor:
    if rule == "asymmetric":
        return places / scale
    if rule == "align_corners":
        return places * ((old - 1) / (size - 1)) if size > 1 else torch.zeros_like(places)
    if rule == "pytorch_half_pixel" and size == 1:
        return torch.zeros_like(places)
    if rule == "half_pixel_symmetric":
        centre = old / 2
        return centre * (1 - size / (old * scale)) + (places + 0.5) / scale - 0.5
    return (places + 0.5) / scale - 0.5


def _round(places: Tensor, rule: str) -> Tensor:
    if rule == "floor":
        return torch.floor(places)
    if rule == "ceil":
        return torch.ceil(places)
    return torch.ceil(places - 0.5) if rule == "round_prefer_floor" else torch.floor(places + 0.5)


def _cubic(t: Tensor, a: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keys' cubic convolution weights of the four neighbours (IEEE TASSP 29(6), 1981)."""

    def near(x: Tensor) -> Tensor:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Tensor) -> Tensor:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return far(t + 1), near(t), near(1 - t), far(2 - t)


ALL: tuple[OpSpec, ...] = (
    OpSpec(
        "resize",
        resize,
        (1, 1),
        {
            "dims": Attr("dims", ()),
            "scales": Attr("floats", ()),
            "mode": Attr("text", "nearest", choices=("nearest", "linear", "cubic")),
            "coordinates": Attr("text", "half_pixel", choices=_COORDINATES),
            "nearest": Attr("text", "round_prefer_floor", choices=_NEAREST),
            "cubic": Attr("float", -0.75),
        },
    ),
)
