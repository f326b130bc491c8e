"""Windows of a time series from arrays and from tables of steps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.errors import LimitExceeded, UnreadableSamples
from gpuworker.core.modalities.archives import npy_array, npz_array, npz_headers, text_items
from gpuworker.core.modalities.options import Caps, ReadOptions
from gpuworker.core.modalities.problems import ProblemLog
from gpuworker.core.modalities.records import Records, as_number, as_text, is_input, is_numeric, read_records
from gpuworker.core.modalities.sheets import Cell
from gpuworker.core.protocols import SourceFile

_ARRAY_NAMES = ("x", "X", "signals", "series", "data", "values")
_STEP_NAME = re.compile(r"^(.*?)[_ .\[]*(\d+)\]?$")
TIME_NAMES = frozenset({"t", "time", "timestamp", "step", "seconds", "datetime", "date", "ms"})
_MAX_WINDOW = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """values: (N, T, C) float32. labels: as found, or None. channel_names and units are empty, rate_hz is 0, when unknown."""

    values: NDArray[np.float32]
    origin: list[tuple[str, int]]
    labels: list[Cell] | None = None
    label_names: tuple[str, ...] = ()
    channel_names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    rate_hz: float = 0.0


def read_arrays(file: SourceFile, options: ReadOptions, caps: Caps, log: ProblemLog) -> list[Windows]:
    """The windows of one .npz or .npy. Raises UnreadableSamples, LimitExceeded."""
    if file.size > caps.file_bytes:
        raise LimitExceeded("The file is too large.", detail=f"{file.size} bytes, allowed {caps.file_bytes}.")
    if file.name.lower().endswith(".npy"):
        return [_windows(file, npy_array(file, caps), None, (), options.channel_names, options.scale, options.rate_hz, options, caps, log)]
    headers = npz_headers(file, caps)
    key = options.array or next((name for name in _ARRAY_NAMES if name in headers), "")
    if key not in headers:
        raise UnreadableSamples("It holds no series.", detail=f"Expected an array x; its arrays are {', '.join(list(headers)[:20])}.")

    def side(name: str) -> NDArray[np.generic] | None:
        return npz_array(file, name, headers[name], caps) if name in headers else None

    names, label_names, y, scale, rate = (side(name) for name in ("channel_names", "label_names", "y", "scale", "rate_hz"))
    labels: list[Cell] | None = list(text_items(y)) if y is not None and options.labels_from == "auto" else None
    return [
        _windows(
            file,
            npz_array(file, key, headers[key], caps),
            labels,
            text_items(label_names) if label_names is not None else (),
            options.channel_names or (text_items(names) if names is not None else ()),
            options.scale or _one_number(scale),
            options.rate_hz or _one_number(rate),
            options,
            caps,
            log,
        )
    ]


def _one_number(array: NDArray[np.generic] | None) -> float:
    return float(array.item()) if array is not None and array.size == 1 and array.dtype.kind in "iuf" else 0.0


def _windows(
    file: SourceFile,
    array: NDArray[np.generic],
    labels: list[Cell] | None,
    label_names: tuple[str, ...],
    names: tuple[str, ...],
    scale: float,
    rate: float,
    options: ReadOptions,
    caps: Caps,
    log: ProblemLog,
) -> Windows:
    if array.dtype.kind not in "biuf" or array.ndim not in (2, 3) or 0 in array.shape[1:]:
        raise UnreadableSamples(
            "Its series have the wrong shape.", detail=f"Found {array.dtype} {array.shape}, expected numbers (N,T,C), (N,C,T) or (N,T)."
        )
    if array.ndim == 2:
        array = array[None] if options.window else array[:, :, None]
    elif _channels_first(array.shape, names, options.layout):
        array = array.transpose(0, 2, 1)
    if names and len(names) != array.shape[2]:
        raise UnreadableSamples("Its channel names do not fit.", detail=f"{len(names)} names, {array.shape[2]} channels in {array.shape}.")
    if labels is not None and len(labels) != len(array):
        raise UnreadableSamples("Its labels do not fit its samples.", detail=f"{len(labels)} labels, {len(array)} samples.")
    if array.size * 4 > caps.inflated_bytes:
        raise LimitExceeded("Its series are too large.", detail=f"{array.size} numbers, allowed {caps.inflated_bytes // 4}.")
    with np.errstate(over="ignore", invalid="ignore"):
        values = array.astype(np.float32) * np.float32(scale or 1.0)
    cut = _cut(values, options, caps, log, file.name)
    if not cut:
        raise UnreadableSamples("Its series are shorter than the window.", detail=f"{values.shape[1]} steps, window {options.window}.")
    window = _length(values.shape[1], options)
    if window != values.shape[1]:
        values = np.stack([values[i, first : first + window] for i, first in cut])
    labels = None if labels is None else [labels[i] for i, _ in cut]
    return Windows(values, [(file.name, i + 1) for i, _ in cut], labels, label_names, names, options.units, rate)


def _channels_first(shape: tuple[int, ...], names: tuple[str, ...], layout: str) -> bool:
    """Whether a 3-D array is (N, C, T): by the option, by the number of names, else when the middle axis is the shorter."""
    if layout in ("NCT", "NTC"):
        return layout == "NCT"
    if names and (shape[1] == len(names)) != (shape[2] == len(names)):
        return shape[1] == len(names)
    return shape[1] < shape[2]


def _length(steps: int, options: ReadOptions) -> int:
    return options.window or min(steps, _MAX_WINDOW)


def _starts(steps: int, options: ReadOptions) -> range:
    window = _length(steps, options)
    return range(0, steps - window + 1, options.stride or window)


def _cut(values: NDArray[np.float32], options: ReadOptions, caps: Caps, log: ProblemLog, name: str) -> list[tuple[int, int]]:
    """(sample, first step) of every window, at most as many as may be kept."""
    most = _most(_length(values.shape[1], options), values.shape[2], caps)
    starts = _starts(values.shape[1], options)
    if len(values) * len(starts) > most:
        log.add(name, f"Only the first {most} windows are used.")
    return [(i, first) for i in range(min(len(values), most)) for first in starts[:most]][:most]


def _most(window: int, channels: int, caps: Caps) -> int:
    return min(caps.rows, max(1, caps.decoded_bytes // (4 * window * channels)))


def read_sheets(files: Sequence[SourceFile], options: ReadOptions, caps: Caps, log: ProblemLog) -> list[Windows]:
    """The windows of CSV and Parquet files, in long or wide form."""
    records = read_records(files, options, caps, log)
    if not records.origin:
        return []
    wide = wide_columns(records.names, options)
    if options.layout == "wide" or (not options.layout and not options.window and not options.sample_column and len(wide) > 0):
        if not wide:
            log.add(files[0].name, "The wide form needs columns named <channel>_<step>, as many for each channel.")
            return []
        return _wide(records, wide, options, caps, log)
    return _long(records, options, caps, log)


def wide_columns(names: Sequence[str], options: ReadOptions) -> dict[str, list[str]]:
    """Channel > its columns in the order of their steps; empty when the names do not say so."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name in options.columns or names:
        match = _STEP_NAME.match(name)
        if match and name not in (options.label_column, options.where_column, options.sample_column):
            found.setdefault(match[1], []).append((int(match[2]), name))
    groups = {channel: [name for _, name in sorted(columns)] for channel, columns in found.items()}
    return groups if len({len(columns) for columns in groups.values()}) == 1 and len(next(iter(groups.values()))) > 1 else {}


def _wide(records: Records, groups: dict[str, list[str]], options: ReadOptions, caps: Caps, log: ProblemLog) -> list[Windows]:
    values = np.stack([_matrix(records, columns) for columns in groups.values()], axis=2)
    names = options.channel_names or (tuple(groups) if len(groups) > 1 else ())
    cut = _cut(values, options, caps, log, records.origin[0][0])
    if not cut:
        return []
    window = _length(values.shape[1], options)
    labels = records.columns[options.label_column] if options.label_column else None
    return [
        Windows(
            np.stack([values[i, first : first + window] for i, first in cut]),
            [records.origin[i] for i, _ in cut],
            None if labels is None else [labels[i] for i, _ in cut],
            records.label_names,
            names,
            options.units,
            options.rate_hz,
        )
    ]


def _long(records: Records, options: ReadOptions, caps: Caps, log: ProblemLog) -> list[Windows]:
    channels = [name for name in options.columns or records.names if _is_channel(name, records, options)]
    if not channels:
        log.add(records.origin[0][0], "No column holds numbers only.")
        return []
    values = _matrix(records, channels)
    labels = records.columns[options.label_column] if options.label_column else None
    groups = _groups(records, options)
    window = options.window or min((len(rows) for rows in groups), default=0)
    if (len(groups) == 1 and not options.window) or window > _MAX_WINDOW:
        log.add(
            records.origin[0][0],
            f"One row per step needs a window of 1 to {_MAX_WINDOW} steps, or a column that says which recording a row belongs to.",
        )
        return []
    most = _most(max(window, 1), len(channels), caps)
    cut: list[NDArray[np.float32]] = []
    origin: list[tuple[str, int]] = []
    found: list[Cell] = []
    for rows in groups:
        if len(rows) < window:
            log.add(*_place(records, rows[0], f"The recording has {len(rows)} steps, the window {window}."))
        for first in range(0, len(rows) - window + 1, options.stride or window):
            if len(cut) >= most:
                log.add(*_place(records, rows[first], f"Only the first {most} windows are used."))
                break
            part = rows[first : first + window]
            cut.append(values[part])
            origin.append(records.origin[part[0]])
            found.append(Counter(as_text(labels[i]) for i in part).most_common(1)[0][0] if labels is not None else None)
    if not cut:
        return []
    names = options.channel_names or tuple(channels)
    return [
        Windows(np.stack(cut), origin, found if labels is not None else None, records.label_names, names, options.units, options.rate_hz)
    ]


def _place(records: Records, row: int, reason: str) -> tuple[str, str, int]:
    return records.origin[row][0], reason, records.origin[row][1]


def _is_channel(name: str, records: Records, options: ReadOptions) -> bool:
    if name in (options.label_column, options.where_column, options.sample_column, options.time_column):
        return False
    if name in options.columns:
        return True
    return is_input(name) and name.lower() not in TIME_NAMES and is_numeric(records.columns[name])


def _groups(records: Records, options: ReadOptions) -> list[list[int]]:
    """Rows of each recording (a file, or a file's rows of one `sample_column`), in the order of `time_column` when given."""
    for name in (options.sample_column, options.time_column):
        if name and name not in records.columns:
            raise UnreadableSamples(
                f"There is no column {name!r}.", detail=f"The columns are {', '.join(records.names[:20])}.", fix="Choose another column."
            )
    keys = records.columns[options.sample_column] if options.sample_column else [None] * len(records.origin)
    groups: dict[tuple[str, str], list[int]] = {}
    for row, (place, key) in enumerate(zip(records.origin, keys, strict=True)):
        groups.setdefault((place[0], as_text(key)), []).append(row)
    if options.time_column:
        times = _matrix(records, [options.time_column])[:, 0]
        if np.isnan(times).any():
            texts = [as_text(cell) for cell in records.columns[options.time_column]]
            return [sorted(rows, key=lambda row: texts[row]) for rows in groups.values()]
        return [sorted(rows, key=lambda row: times[row]) for rows in groups.values()]
    return list(groups.values())


def _matrix(records: Records, columns: Sequence[str]) -> NDArray[np.float32]:
    """(rows, columns); cells that are no finite numbers become NaN, which drops their window with a reason."""
    out = np.full((len(records.origin), len(columns)), np.nan, np.float64)
    for j, name in enumerate(columns):
        for i, cell in enumerate(records.columns[name]):
            try:
                out[i, j] = as_number(cell)
            except (ValueError, OverflowError):
                continue
    return out.astype(np.float32)
