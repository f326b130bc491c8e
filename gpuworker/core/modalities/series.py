"""Time series: N windows of T steps over C channels.

Batch arrays: `values` (N, T, C) float32. meta: modality, window (T), channels (C), channel_names, units, rate_hz (the
last three only when known).
Accepted: .npz and .npy with (N,T,C), (N,C,T) or (N,T); `window` cuts longer samples into windows `stride` apart; a
2-D array with a `window` is one recording (steps, channels). CSV and Parquet: `long` has one row per step and is cut
into windows inside each value of `sample_column`; `wide` has one row per sample and columns <channel>_<step>.
Model input: channels by name (else by count), resampled when both sides name a rate, the centre `window` steps, then
(x - mean) / std per channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.compatibility import channel_order, resampled_length
from gpuworker.core.errors import Incompatible, LimitExceeded, UnreadableSamples
from gpuworker.core.modalities.fitting import only_input, require_fit
from gpuworker.core.modalities.options import DEFAULT_CAPS, Caps, ReadOptions
from gpuworker.core.modalities.problems import ProblemLog
from gpuworker.core.modalities.results import finish
from gpuworker.core.modalities.series_features import FEATURES_VERSION, features
from gpuworker.core.modalities.series_read import Windows, read_arrays, read_sheets
from gpuworker.core.protocols import ReadResult, SampleBatch, SourceFile

__all__ = ["FEATURES_VERSION", "encode", "features", "preview", "read", "values"]

_ARRAY_FILES = (".npz", ".npy")
_PREVIEW_POINTS = 200
_FIX = "Upload .npz or .npy with (N,T,C), or CSV or Parquet with one row per step and a window."


def read(files: Sequence[SourceFile], options: ReadOptions, caps: Caps = DEFAULT_CAPS) -> ReadResult:
    """A batch of all usable windows. Raises UnreadableSamples when there is none."""
    log = ProblemLog(caps.problems)
    arrays = [file for file in files if file.name.lower().endswith(_ARRAY_FILES)]
    sheets = [file for file in files if not file.name.lower().endswith(_ARRAY_FILES)]
    parts: list[Windows] = []
    for file in arrays:
        try:
            parts += read_arrays(file, options, caps, log)
        except (UnreadableSamples, LimitExceeded) as error:
            log.add(file.name, f"{error.title} {error.detail}".strip())
    if sheets:
        parts += read_sheets(sheets, options, caps, log)
    parts = _of_one_shape(parts, log)
    if not parts:
        raise log.nothing_usable(_FIX)
    whole = _joined(parts)
    kept = np.flatnonzero(np.isfinite(whole.values).all((1, 2)))
    for i in np.flatnonzero(~np.isfinite(whole.values).all((1, 2))).tolist():
        log.add(whole.origin[i][0], "The window holds NaN, empty or infinite values.", whole.origin[i][1])
    if kept.size > caps.rows:
        log.add(whole.origin[int(kept[caps.rows])][0], f"Only the first {caps.rows} windows are used.")
        kept = kept[: caps.rows]
    batch = SampleBatch("series", int(kept.size), {"values": whole.values[kept]}, _meta(whole))
    labels = None if whole.labels is None else [whole.labels[i] for i in kept]
    return finish(batch, labels, whole.label_names, [whole.origin[i] for i in kept], options, log, near_keys, _FIX)


def encode(batch: SampleBatch, start: int, stop: int, spec: Mapping[str, Any], model_inputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Rows start..stop, float32: (n, C, T), (n, T, C), or (n, C * T) with channels first, by `layout`. Raises Incompatible."""
    require_fit(batch, spec)
    name = only_input(model_inputs)
    order = channel_order(batch.meta.get("channel_names"), int(batch.meta["channels"]), spec["channels"])
    if isinstance(order, str):
        raise Incompatible("The samples do not fit the model.", detail=order)
    x = batch.arrays["values"][start : min(stop, batch.n)][:, :, order].astype(np.float64)
    x = resampled(x, batch.meta.get("rate_hz"), spec.get("rate_hz"))
    window = int(spec["window"])
    first = (x.shape[1] - window) // 2
    x = (x[:, first : first + window] - np.asarray(spec.get("mean", 0.0))) / np.asarray(spec.get("std", 1.0))
    if spec["layout"] == "NTC":
        return {name: np.ascontiguousarray(x, np.float32)}
    channels_first = np.ascontiguousarray(x.transpose(0, 2, 1), np.float32)
    return {name: channels_first.reshape(len(x), -1) if spec["layout"] == "flat" else channels_first}


def resampled(x: NDArray[np.float64], rate_hz: float | None, wanted_hz: float | None) -> NDArray[np.float64]:
    """(n, T, C) at another rate, unchanged when one is unknown or they agree within 1 %.

    Step k of the result covers the time k / wanted .. (k + 1) / wanted and is the mean over it of the signal held
    constant during each step: a box filter, so that fast parts do not alias when the rate goes down.
    """
    steps = x.shape[1]
    length = resampled_length(steps, rate_hz, wanted_hz)
    if length == steps or not rate_hz or not wanted_hz:
        return x
    edges = np.arange(length + 1) * (rate_hz / wanted_hz)
    area = np.concatenate([np.zeros((len(x), 1, x.shape[2])), np.cumsum(x, axis=1)], axis=1)
    low = np.minimum(np.floor(edges).astype(np.int64), steps - 1)
    at_edges = area[:, low] + (np.minimum(edges, steps) - low)[:, None] * x[:, low]
    return np.asarray(np.diff(at_edges, axis=1) * (wanted_hz / rate_hz))


def values(batch: SampleBatch) -> NDArray[np.float32]:
    """(N, T, C) as read."""
    return np.asarray(batch.arrays["values"], np.float32)


def preview(batch: SampleBatch, index: int) -> dict[str, Any]:
    """{"kind": "series", "channels": [{"name", "points"}], "steps", "rate_hz"}: at most 200 points a channel, means of equal stretches."""
    sample = batch.arrays["values"][index]
    steps = len(sample)
    cuts = np.linspace(0, steps, min(steps, _PREVIEW_POINTS) + 1).astype(np.int64)
    names = batch.meta.get("channel_names") or [f"channel {i + 1}" for i in range(sample.shape[1])]
    means = np.add.reduceat(sample.astype(np.float64), cuts[:-1], axis=0) / np.diff(cuts)[:, None]
    channels = [{"name": name, "points": [float(f"{point:.6g}") for point in means[:, i]]} for i, name in enumerate(names)]
    return {"kind": "series", "channels": channels, "steps": steps, "rate_hz": batch.meta.get("rate_hz")}


def near_keys(batch: SampleBatch) -> list[bytes]:
    """Equal for windows whose 16 stretch means per channel agree to a twentieth of the window's own deviation."""
    x = batch.arrays["values"].astype(np.float64)
    cuts = np.linspace(0, x.shape[1], min(x.shape[1], 16) + 1).astype(np.int64)
    means = np.add.reduceat(x, cuts[:-1], axis=1) / np.diff(cuts)[None, :, None]
    # A power of two near the deviation: close windows then share the same grid.
    grid = 2.0 ** np.floor(np.log2(x.std((1, 2)) + 1e-9) - 4)
    rounded = np.rint(np.clip(means / grid[:, None, None], -(2.0**53), 2.0**53)).astype(np.int64)
    return [row.tobytes() for row in rounded.reshape(len(x), -1)]


def _of_one_shape(parts: list[Windows], log: ProblemLog) -> list[Windows]:
    if not parts:
        return []
    first = parts[0]
    kept = [part for part in parts if part.values.shape[1:] == first.values.shape[1:] and part.channel_names == first.channel_names]
    for part in parts:
        if part not in kept:
            found, wanted = part.values.shape[1:], first.values.shape[1:]
            names = ", ".join(part.channel_names[:10])
            reason = f"Its windows are {found[0]} steps x {found[1]} channels ({names}), the first file's {wanted[0]} x {wanted[1]}."
            log.add(part.origin[0][0], reason)
    return kept


def _joined(parts: list[Windows]) -> Windows:
    first = parts[0]
    labelled = any(part.labels is not None for part in parts)
    labels = [label for part in parts for label in (part.labels or [None] * len(part.origin))] if labelled else None
    origin = [place for part in parts for place in part.origin]
    return Windows(
        np.concatenate([part.values for part in parts]), origin, labels, first.label_names, first.channel_names, first.units, first.rate_hz
    )


def _meta(whole: Windows) -> dict[str, Any]:
    meta: dict[str, Any] = {"modality": "series", "window": int(whole.values.shape[1]), "channels": int(whole.values.shape[2])}
    if whole.channel_names:
        meta["channel_names"] = list(whole.channel_names)
    if whole.units:
        meta["units"] = list(whole.units)
    if whole.rate_hz:
        meta["rate_hz"] = whole.rate_hz
    return meta
