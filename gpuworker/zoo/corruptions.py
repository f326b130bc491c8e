"""Ways in which photographs go wrong, as domains of a single image set. uint8 (N, H, W, C) in and out, channels 1 or 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.uint8]
_LUMA = np.array([0.299, 0.587, 0.114])


def _rounded(x: NDArray[Any]) -> Pixels:
    return np.asarray(np.clip(np.rint(x), 0, 255), np.uint8)


def _clean(x: Pixels, rng: np.random.Generator) -> Pixels:
    return x


def _noise(x: Pixels, rng: np.random.Generator) -> Pixels:
    return _rounded(x + rng.normal(0, 38, x.shape))


def _blur(x: Pixels, rng: np.random.Generator) -> Pixels:
    return _rounded(ndimage.gaussian_filter(x.astype(np.float32), (0, 1.4, 1.4, 0)))


def _contrast(x: Pixels, rng: np.random.Generator) -> Pixels:
    return _rounded(x * 0.3 + rng.uniform(20, 150, (len(x), 1, 1, 1)))


def _inversion(x: Pixels, rng: np.random.Generator) -> Pixels:
    return 255 - x


def _rotation(x: Pixels, rng: np.random.Generator) -> Pixels:
    angles = rng.uniform(25, 65, len(x)) * rng.choice([-1, 1], len(x))
    squeezed = x.squeeze(3) if x.shape[3] == 1 else x
    turned = [
        np.asarray(Image.fromarray(image).rotate(angle, Image.Resampling.BILINEAR)) for image, angle in zip(squeezed, angles, strict=True)
    ]
    return np.stack(turned).reshape(x.shape)


def _greyscale(x: Pixels, rng: np.random.Generator) -> Pixels:
    if x.shape[3] == 1:
        return _rounded(128 + (x.astype(np.float32) - 128) * 0.6)
    return np.repeat(_rounded(x @ _LUMA)[..., None], 3, axis=3)


CORRUPTIONS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "clean": _clean,
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "inversion": _inversion,
    "rotation": _rotation,
    "greyscale": _greyscale,
}


def corrupted(pixels: Pixels, key: str) -> Pixels:
    """The same pixels every time. Raises KeyError for an unknown key."""
    return CORRUPTIONS[key](pixels, np.random.default_rng(list(CORRUPTIONS).index(key)))
