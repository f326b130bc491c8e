"""Probe features of time series.

One block of 69 numbers per channel, in the batch's channel order, then 4 of the whole sample (D = 69 C + 4):
  0..10   mean, deviation, mean absolute step, share of crossings of the mean, least, greatest, quantiles .05 .25 .5 .75 .95
  11..26  ln(1 + power) in 16 equal bands of the spectrum without the constant part (power per step)
  27..68  MiniRocket-like: share of positive responses of 42 fixed kernels (length 9, weights -1 and 2, dilation 1, 2 or 4,
          bias -1, 0 or 1) on the channel scaled to mean 0 and deviation 1 (Dempster et al., KDD 2021; their biases come
          from the training data, these are fixed)
  last 4  mean and deviation of the length of the channel vector; mean and deviation of its absolute steps
Each row depends on its own sample alone.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.protocols import SampleBatch

FEATURES_VERSION = "series-probe/1"
_BANDS = 16
_LENGTH = 9
_KERNELS = list(combinations(range(_LENGTH), 3))[::2]
_DILATIONS = (1, 2, 4)
_QUANTILES = (5, 25, 50, 75, 95)
_CHUNK_VALUES = 2_000_000


def features(batch: SampleBatch) -> NDArray[np.float32]:
    """(N, 69 C + 4) float32."""
    x = batch.arrays["values"]
    chunk = max(1, _CHUNK_VALUES // max(1, x.shape[1] * x.shape[2]))
    found = np.concatenate([_features(x[start : start + chunk].astype(np.float64)) for start in range(0, len(x), chunk)])
    largest = np.finfo(np.float32).max
    return np.asarray(np.clip(found, -largest, largest), np.float32)


def _features(x: NDArray[np.float64]) -> NDArray[np.float64]:
    n, _, channels = x.shape
    blocks = np.concatenate([_statistics(x), _spectrum(x), _kernels(x)], axis=1)
    per_channel = blocks.transpose(0, 2, 1).reshape(n, channels * blocks.shape[1])
    size = np.linalg.norm(x, axis=2)
    steps = np.abs(np.diff(size, axis=1)) if size.shape[1] > 1 else np.zeros((n, 1))
    whole = np.stack([size.mean(1), size.std(1), steps.mean(1), steps.std(1)], axis=1)
    return np.concatenate([per_channel, whole], axis=1)


def _statistics(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 11, C)."""
    mean = x.mean(1, keepdims=True)
    above = x > mean
    if x.shape[1] > 1:
        step, crossings = np.abs(np.diff(x, axis=1)).mean(1), (above[:, 1:] != above[:, :-1]).mean(1)
    else:
        step = crossings = np.zeros_like(mean[:, 0])
    quantiles = np.percentile(x, _QUANTILES, axis=1).transpose(1, 0, 2)
    return np.concatenate([np.stack([mean[:, 0], x.std(1), step, crossings, x.min(1), x.max(1)], axis=1), quantiles], axis=1)


def _spectrum(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 16, C)."""
    n, steps, channels = x.shape
    power = np.abs(np.fft.rfft(x - x.mean(1, keepdims=True), axis=1)[:, 1:]) ** 2 / steps
    out = np.zeros((n, _BANDS, channels))
    bins = power.shape[1]
    for band in range(_BANDS):
        low, high = band * bins // _BANDS, (band + 1) * bins // _BANDS
        # Fewer bins than bands: neighbouring bands share a bin.
        out[:, band] = power[:, low : max(high, low + 1)].mean(1) if bins else 0
    return np.log1p(out)


def _kernels(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 42, C)."""
    deviation = x.std(1, keepdims=True)
    scaled = (x - x.mean(1, keepdims=True)) / np.maximum(deviation, 1e-6)
    steps = x.shape[1]
    out = np.empty((len(x), len(_KERNELS), x.shape[2]))
    for d, dilation in enumerate(_DILATIONS):
        reach = dilation * (_LENGTH // 2)
        padded = np.pad(scaled, ((0, 0), (reach, reach), (0, 0)))
        shifted = [padded[:, k * dilation : k * dilation + steps] for k in range(_LENGTH)]
        total = -np.sum(shifted, axis=0)
        for k in range(d, len(_KERNELS), len(_DILATIONS)):
            a, b, c = _KERNELS[k]
            answer = total + 3 * (shifted[a] + shifted[b] + shifted[c])
            # Rounding noise around an exact tie must not decide: ties count as not positive.
            out[:, k] = (answer > (k // len(_DILATIONS)) % 3 - 1 + 1e-6).mean(1)
    return out
