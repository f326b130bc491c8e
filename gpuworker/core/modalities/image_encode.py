"""Images as a model's input, exactly as the input spec says.

Order: to grey or RGB (ITU-R 601 luma, as Pillow), resize, invert, pad, scale. `stretch` resizes to height x width;
`fit` scales until the whole image fits, centres it, and pads with 0 after inversion; `crop` scales until the image
covers the frame and cuts the centre. Value v becomes range[0] + v / 255 * (range[1] - range[0]), then (v - mean) / std.
dtype uint8 gives the pixels as they are: range, mean and std do not apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpuworker.core.modalities.fitting import only_input, require_fit
from gpuworker.core.modalities.pixels import from_pil, image_at, to_pil, uniform
from gpuworker.core.protocols import SampleBatch

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def encode(batch: SampleBatch, start: int, stop: int, spec: Mapping[str, Any], model_inputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Rows start..stop for a model's one input: (n, C, H, W), (n, H, W, C) or (n, C * H * W) by `layout`."""
    require_fit(batch, spec)
    name = only_input(model_inputs)
    stop = min(stop, batch.n)
    frames = framed(batch, start, stop, spec)
    return {name: _laid_out(_scaled(frames, spec), str(spec["layout"]))}


def framed(batch: SampleBatch, start: int, stop: int, spec: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Rows start..stop resized and inverted, uint8 (n, H, W, C)."""
    height, width, channels = int(spec["height"]), int(spec["width"]), int(spec["channels"])
    whole = uniform(batch, start, stop)
    if whole is not None and whole.shape[1:] == (height, width, channels):
        return 255 - whole if spec["invert"] else whole
    out = np.zeros((stop - start, height, width, channels), np.uint8)
    for row in range(start, stop):
        image = to_pil(image_at(batch, row)).convert("L" if channels == 1 else "RGB")
        _place(out[row - start], image, str(spec["resize"]), _RESAMPLING[spec["interpolation"]], bool(spec["invert"]))
    return out


def _place(out: NDArray[np.uint8], image: Image.Image, resize: str, resample: Image.Resampling, invert: bool) -> None:
    height, width = out.shape[:2]
    size = (width, height)
    if resize != "stretch":
        ratios = (width / image.width, height / image.height)
        factor = min(ratios) if resize == "fit" else max(ratios)
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    pixels = from_pil(image if size == image.size else image.resize(size, resample))
    if invert:
        pixels = 255 - pixels
    if resize == "crop":
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        out[:] = pixels[top : top + height, left : left + width]
    else:
        top, left = (height - pixels.shape[0]) // 2, (width - pixels.shape[1]) // 2
        out[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels


def _scaled(frames: NDArray[np.uint8], spec: Mapping[str, Any]) -> NDArray[Any]:
    if spec["dtype"] == "uint8":
        return frames
    low, high = spec["range"]
    # A table of the 256 possible values gives the same float32 on every platform.
    values = low + np.arange(256, dtype=np.float64) / 255 * (high - low)
    mean, std = np.atleast_1d(spec.get("mean", 0.0)), np.atleast_1d(spec.get("std", 1.0))
    table = ((values[:, None] - mean) / std).astype(spec["dtype"])
    if table.shape[1] == 1:
        return np.asarray(table[:, 0][frames])
    return np.stack([table[:, c][frames[..., c]] for c in range(frames.shape[3])], axis=-1)


def _laid_out(frames: NDArray[Any], layout: str) -> NDArray[Any]:
    if layout == "NHWC":
        return np.ascontiguousarray(frames)
    first = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
    return first.reshape(len(first), -1) if layout == "flat" else first
