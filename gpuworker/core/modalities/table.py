"""Tables: one row per sample, from CSV, TSV, Parquet, JSONL or .npz with x (N, K) and `column_names`.

Batch arrays: `numbers` (N, K) float64 of the numeric columns, NaN = missing, and a string column `text.<j>` for each
other column, "" = missing. meta: modality, columns ([{"name", "kind": "numeric" | "text"}] in file order).
A column is numeric when at least nine in ten of its filled cells are numbers; rows with another cell there are reported.
Answers, identifiers and splits (see `records.is_input`) are left out unless `columns` names them.

Model input (n, width) float32: the spec's columns side by side, found by name (letter case aside). numeric: an empty
cell takes `missing`, else `mean`, else 0; then (x - mean) / std. category: one-hot, zeros for another value.
Probe features (D = 2 K + 64), columns in order of name: asinh(x) with 0 for missing, the missing flags, and 64 columns
of signed counts of the hashed "name=value" of every text cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction import FeatureHasher

from gpuworker.core.errors import LimitExceeded, UnreadableSamples
from gpuworker.core.modalities.archives import npz_array, npz_headers, text_items
from gpuworker.core.modalities.batches import string_column, strings
from gpuworker.core.modalities.fitting import only_input, require_fit
from gpuworker.core.modalities.options import DEFAULT_CAPS, Caps, ReadOptions
from gpuworker.core.modalities.problems import ProblemLog
from gpuworker.core.modalities.records import MISSING, Records, as_number, as_text, is_input, read_records
from gpuworker.core.modalities.results import finish
from gpuworker.core.modalities.sheets import Cell
from gpuworker.core.modalities.words import near_key
from gpuworker.core.protocols import ReadResult, SampleBatch, SourceFile

FEATURES_VERSION = "table-probe/1"
_HASHED = 64
_NUMERIC_SHARE = 0.9
_ARRAY_NAMES = ("x", "X", "data", "features")
_FIX = "Upload CSV, TSV, Parquet or JSONL with one row per sample, or .npz with x (N, K)."


def read(files: Sequence[SourceFile], options: ReadOptions, caps: Caps = DEFAULT_CAPS) -> ReadResult:
    """A batch of all usable rows. Raises UnreadableSamples when there is none."""
    log = ProblemLog(caps.problems)
    arrays = [file for file in files if file.name.lower().endswith(".npz")]
    sheets = [file for file in files if file not in arrays]
    if arrays and sheets:
        for file in sheets:
            log.add(file.name, "A table comes from .npz files or from text files, not from both.")
    records = _from_arrays(arrays, options, caps, log) if arrays else read_records(sheets, options, caps, log)
    label = options.label_column or ("y" if arrays and "y" in records.columns and options.labels_from == "auto" else "")
    names = [name for name in records.names if name in options.columns] or [name for name in records.names if is_input(name)]
    names = [name for name in names if name != label]
    if not records.origin or not names:
        raise log.nothing_usable(_FIX)
    numeric = {name: _numbers(records.columns[name]) for name in names}
    bad = _report(records, names, numeric, log)
    kept = [i for i in range(len(records.origin)) if i not in bad]
    numbers = [column for column in (numeric[name] for name in names) if column is not None]
    arrays_out = {"numbers": np.stack(numbers, axis=1)[kept] if numbers else np.zeros((len(kept), 0))}
    for j, name in enumerate(name for name in names if numeric[name] is None):
        arrays_out |= string_column(f"text.{j}", [_category(records.columns[name][i]) for i in kept])
    kinds = [{"name": name, "kind": "text" if numeric[name] is None else "numeric"} for name in names]
    batch = SampleBatch("table", len(kept), arrays_out, {"modality": "table", "columns": kinds})
    labels = [records.columns[label][i] for i in kept] if label else None
    return finish(batch, labels, records.label_names, [records.origin[i] for i in kept], options, log, near_keys, _FIX)


def _numbers(cells: Sequence[Cell]) -> NDArray[np.float64] | None:
    """The column as numbers with NaN for missing and inf for cells that are no finite number; None for a text column."""
    out = np.full(len(cells), np.nan)
    filled = wrong = 0
    for i, cell in enumerate(cells):
        try:
            out[i] = as_number(cell)
            filled += not math.isnan(out[i])
        except (ValueError, OverflowError):
            out[i] = math.inf
            wrong += 1
    return None if filled < _NUMERIC_SHARE * (filled + wrong) or filled == 0 else out


def _report(records: Records, names: Sequence[str], numeric: Mapping[str, NDArray[np.float64] | None], log: ProblemLog) -> set[int]:
    bad: set[int] = set()
    for name in names:
        column = numeric[name]
        for i in np.flatnonzero(np.isinf(column)).tolist() if column is not None else ():
            bad.add(i)
            log.add(
                records.origin[i][0],
                f"{name!r} holds {as_text(records.columns[name][i])[:40]!r}, expected a finite number.",
                records.origin[i][1],
            )
    for i, cells in enumerate(zip(*(records.columns[name] for name in names), strict=True)):
        if all(_category(cell) == "" for cell in cells):
            bad.add(i)
            log.add(records.origin[i][0], "All its cells are empty.", records.origin[i][1])
    return bad


def _category(cell: Cell) -> str:
    text = as_text(cell).strip()
    return "" if text.lower() in MISSING else text


def _from_arrays(files: Sequence[SourceFile], options: ReadOptions, caps: Caps, log: ProblemLog) -> Records:
    columns: dict[str, list[Cell]] = {}
    origin: list[tuple[str, int]] = []
    stored: tuple[str, ...] = ()
    for file in files:
        try:
            part, names = _from_array(file, options, caps)
        except (UnreadableSamples, LimitExceeded) as error:
            log.add(file.name, f"{error.title} {error.detail}".strip())
            continue
        if columns and set(part) != set(columns):
            log.add(file.name, "Its columns are not those of the first file.")
            continue
        for name, cells in part.items():
            columns.setdefault(name, []).extend(cells[: caps.rows - len(origin)])
        count = len(next(iter(part.values())))
        if count > caps.rows - len(origin):
            log.add(file.name, f"Only the first {caps.rows} rows of the set are used.")
        origin += [(file.name, row + 1) for row in range(min(count, caps.rows - len(origin)))]
        stored = stored or names
    return Records(columns, origin, stored)


def _from_array(file: SourceFile, options: ReadOptions, caps: Caps) -> tuple[dict[str, list[Cell]], tuple[str, ...]]:
    headers = npz_headers(file, caps)
    key = options.array or next((name for name in _ARRAY_NAMES if name in headers), "")
    if key not in headers:
        raise UnreadableSamples("It holds no table.", detail=f"Expected an array x; its arrays are {', '.join(list(headers)[:20])}.")
    shape, kind = headers[key].shape, headers[key].dtype
    if len(shape) != 2 or kind.kind not in "biuf" or not 0 < shape[1] <= caps.columns or shape[0] * shape[1] > caps.cells:
        raise UnreadableSamples(
            "Its table has the wrong shape.", detail=f"Found {kind} {shape}, expected (N, K) numbers, K up to {caps.columns}."
        )
    table = npz_array(file, key, headers[key], caps)
    named = next((name for name in ("column_names", "feature_names") if name in headers), "")
    names = text_items(npz_array(file, named, headers[named], caps)) if named else tuple(f"x{j}" for j in range(shape[1]))
    if len(set(names)) != shape[1]:
        raise UnreadableSamples("Its column names do not fit.", detail=f"{len(set(names))} different names, {shape[1]} columns.")
    columns: dict[str, list[Cell]] = {name: table[:, j].tolist() for j, name in enumerate(names)}
    if "y" in headers:
        labels = npz_array(file, "y", headers["y"], caps)
        if labels.size != shape[0]:
            raise UnreadableSamples("Its labels do not fit its rows.", detail=f"{labels.size} labels, {shape[0]} rows.")
        columns["y"] = list(text_items(labels))
    stored = text_items(npz_array(file, "label_names", headers["label_names"], caps)) if "label_names" in headers else ()
    return columns, stored


def encode(batch: SampleBatch, start: int, stop: int, spec: Mapping[str, Any], model_inputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Rows start..stop, (n, width) float32. Raises Incompatible when a column is missing."""
    require_fit(batch, spec)
    name = only_input(model_inputs)
    stop = min(stop, batch.n)
    blocks = []
    for column in spec["columns"]:
        cells = _cells(batch, column["name"], start, stop)
        blocks.append(_numeric_block(cells, column) if column["kind"] == "numeric" else _category_block(cells, column["categories"]))
    return {name: np.concatenate(blocks, axis=1).astype(np.float32)}


def _cells(batch: SampleBatch, name: str, start: int, stop: int) -> Sequence[Cell]:
    numeric = text = 0
    for column in batch.meta["columns"]:
        if column["name"].casefold() == name.casefold():
            break
        numeric, text = numeric + (column["kind"] == "numeric"), text + (column["kind"] == "text")
    if column["kind"] == "numeric":
        return list(batch.arrays["numbers"][start:stop, numeric].tolist())
    return strings(batch, f"text.{text}", start, stop)


def _numeric_block(cells: Sequence[Cell], column: Mapping[str, Any]) -> NDArray[np.float64]:
    mean, std = float(column.get("mean", 0.0)), float(column.get("std", 1.0))
    missing = float(column.get("missing", mean))
    out = np.empty((len(cells), 1))
    for i, cell in enumerate(cells):
        try:
            value = as_number(cell)
        except ValueError:
            value = math.nan
        out[i, 0] = ((missing if math.isnan(value) else value) - mean) / std
    return out


def _category_block(cells: Sequence[Cell], categories: Sequence[str]) -> NDArray[np.float64]:
    index = {category: j for j, category in enumerate(categories)}
    out = np.zeros((len(cells), len(categories)))
    for i, cell in enumerate(cells):
        place = index.get(as_text(cell))
        if place is not None:
            out[i, place] = 1
    return out


def features(batch: SampleBatch) -> NDArray[np.float32]:
    """(N, 2 K + 64) float32."""
    columns = batch.meta["columns"]
    numeric = [column["name"] for column in columns if column["kind"] == "numeric"]
    order = sorted(range(len(numeric)), key=lambda j: numeric[j].casefold())
    numbers = batch.arrays["numbers"][:, order]
    hashed = np.zeros((batch.n, _HASHED), np.float32)
    texts = [column["name"] for column in columns if column["kind"] == "text"]
    if texts:
        cells = [strings(batch, f"text.{j}") for j in range(len(texts))]
        rows = [[f"{name.casefold()}={cell}" for name, cell in zip(texts, row, strict=True) if cell] for row in zip(*cells, strict=True)]
        hashed = FeatureHasher(_HASHED, input_type="string", dtype=np.float32).transform(rows).toarray()
    missing = np.isnan(numbers)
    return np.concatenate([np.arcsinh(np.where(missing, 0, numbers)), missing, hashed], axis=1).astype(np.float32)


def values(batch: SampleBatch) -> NDArray[np.float64]:
    """(N, K): the numeric columns, 0 where a cell is missing."""
    return np.nan_to_num(batch.arrays["numbers"], nan=0.0)


def preview(batch: SampleBatch, index: int) -> dict[str, Any]:
    """{"kind": "cells", "cells": [{"name", "value"}]} in file order."""
    names = [column["name"] for column in batch.meta["columns"]]
    return {"kind": "cells", "cells": [{"name": name, "value": as_text(_cells(batch, name, index, index + 1)[0])[:500]} for name in names]}


def near_keys(batch: SampleBatch) -> list[tuple[bytes, ...]]:
    """Equal for rows whose numbers agree to four digits and whose texts differ only in case, spacing and punctuation."""
    numbers = batch.arrays["numbers"]
    with np.errstate(divide="ignore", invalid="ignore"):
        grid = 10.0 ** (np.floor(np.log10(np.abs(numbers))) - 3)
        rounded = np.where(np.isfinite(grid) & (grid > 0), np.rint(numbers / grid) * grid, numbers)
    count = sum(column["kind"] == "text" for column in batch.meta["columns"])
    texts = [[near_key(text) for text in strings(batch, f"text.{j}")] for j in range(count)]
    return list(zip((row.tobytes() for row in rounded), *texts, strict=True))
