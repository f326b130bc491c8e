"""Probe features, raw values and near-duplicate keys of images.

Probe features (D = 398), from the image stretched to 32 x 32 RGB, in [0, 1]:
  0..127    HOG: 8 unsigned orientations in each of 4 x 4 cells of 8 pixels of the grey image, L2-normalised per image
  128..191  grey thumbnail 8 x 8
  192..205  colour: mean and deviation of R, G, B; mean saturation; quantiles .05 .25 .5 .75 .95 of grey; edge energy; grey deviation
  206..397  32 fixed random 5 x 5 x 3 convolutions without a constant part: mean positive response in each of 2 x 2
            quarters, share of positive responses, and mean absolute response
Each row depends on its own image alone.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gpuworker.core.modalities.constants import fixed_uniform
from gpuworker.core.modalities.image_encode import framed
from gpuworker.core.modalities.pixels import uniform
from gpuworker.core.protocols import SampleBatch

FEATURES_VERSION = "image-probe/1"
_SIDE, _CELL, _ANGLES = 32, 8, 8
_KERNELS, _REACH, _STEP = 32, 5, 3
_CHUNK = 256
_NATIVE_SIDE = 64
_FRAME = {"height": _SIDE, "width": _SIDE, "channels": 3, "resize": "stretch", "interpolation": "bilinear", "invert": False}
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_QUANTILES = (5, 25, 50, 75, 95)


def features(batch: SampleBatch) -> NDArray[np.float32]:
    """(N, 398) float32."""
    kernels = _kernels()
    blocks = []
    for start in range(0, batch.n, _CHUNK):
        rgb = framed(batch, start, min(start + _CHUNK, batch.n), _FRAME).astype(np.float32) / np.float32(255)
        grey: NDArray[np.float32] = np.asarray(rgb @ _LUMA, np.float32)
        blocks.append(np.concatenate([_hog(grey), _thumbnail(grey), _colour(rgb, grey), _responses(rgb, kernels)], axis=1))
    return np.concatenate(blocks).astype(np.float32)


def values(batch: SampleBatch) -> NDArray[np.uint8]:
    """(N, H, W, C) raw pixels when all images have one shape with sides up to 64, else (N, 32, 32, 3) stretched."""
    whole = uniform(batch, 0, batch.n)
    if whole is not None and max(whole.shape[1:3]) <= _NATIVE_SIDE:
        return whole
    return framed(batch, 0, batch.n, _FRAME)


def near_keys(batch: SampleBatch) -> list[bytes]:
    """Equal for images that differ by little: average hash and horizontal difference hash, 16 x 16, and mean colour in steps of 16.

    Finer than the usual 8 x 8: line drawings and digits of one class would fall together there.
    """
    keys: list[bytes] = []
    spec = {**_FRAME, "height": 16, "width": 17, "interpolation": "bilinear"}
    for start in range(0, batch.n, _CHUNK):
        rgb = framed(batch, start, min(start + _CHUNK, batch.n), spec).astype(np.float32)
        grey = np.rint(rgb @ _LUMA / 4)
        above = grey[:, :, 1:] > grey[:, :, 1:].mean((1, 2), keepdims=True)
        rising = grey[:, :, 1:] > grey[:, :, :-1]
        bits = np.packbits(np.concatenate([above, rising], axis=1).reshape(len(grey), -1), axis=1)
        colour = np.rint(rgb.mean((1, 2)) / 16).astype(np.uint8)
        keys += [row.tobytes() for row in np.concatenate([bits, colour], axis=1)]
    return keys


def _kernels() -> NDArray[np.float32]:
    """(75, 32): each column has mean 0 and length 1."""
    kernels = fixed_uniform(FEATURES_VERSION + "/kernels", _REACH * _REACH * 3, _KERNELS)
    kernels -= kernels.mean(0)
    return np.asarray(kernels / np.linalg.norm(kernels, axis=0), np.float32)


def _hog(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    padded = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    gx = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    gy = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    size = np.hypot(gx, gy)
    angle = np.arctan2(gy, gx) % np.pi / np.pi * _ANGLES
    cells = grey.shape[1] // _CELL
    hist = np.empty((len(grey), cells, cells, _ANGLES), np.float32)
    for b in range(_ANGLES):
        distance = np.abs((angle - b + _ANGLES / 2) % _ANGLES - _ANGLES / 2)
        share = np.clip(1 - distance, 0, 1) * size
        hist[..., b] = share.reshape(len(grey), cells, _CELL, cells, _CELL).sum((2, 4))
    flat = hist.reshape(len(grey), -1)
    return np.asarray(flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-3), np.float32)


def _thumbnail(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    part = _SIDE // 8
    return np.asarray(grey.reshape(len(grey), 8, part, 8, part).mean((2, 4)).reshape(len(grey), -1), np.float32)


def _colour(rgb: NDArray[np.float32], grey: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = grey.reshape(len(grey), -1)
    saturation = (rgb.max(3) - rgb.min(3)).mean((1, 2))
    edges = np.abs(np.diff(grey, axis=1)).mean((1, 2)) + np.abs(np.diff(grey, axis=2)).mean((1, 2))
    quantiles = np.percentile(flat, _QUANTILES, axis=1).T
    return np.concatenate([rgb.mean((1, 2)), rgb.std((1, 2)), saturation[:, None], quantiles, edges[:, None], flat.std(1)[:, None]], axis=1)


def _responses(rgb: NDArray[np.float32], kernels: NDArray[np.float32]) -> NDArray[np.float32]:
    windows = sliding_window_view(rgb, (_REACH, _REACH), axis=(1, 2))[:, ::_STEP, ::_STEP]
    n, rows, columns = windows.shape[:3]
    answer = windows.transpose(0, 1, 2, 4, 5, 3).reshape(n, rows, columns, -1) @ kernels
    positive = np.maximum(answer, 0)
    half = rows // 2
    quarters = [
        positive[:, r, c].mean((1, 2)) for r in (slice(None, half), slice(half, None)) for c in (slice(None, half), slice(half, None))
    ]
    share = (answer > 1e-3).mean((1, 2), dtype=np.float32)
    return np.concatenate([*quarters, share, np.abs(answer).mean((1, 2))], axis=1)
