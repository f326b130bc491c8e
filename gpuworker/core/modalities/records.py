"""Rows of all files of a sample set in columns, with each row's origin, and the cells as text, numbers or labels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.errors import LimitExceeded, UnreadableSamples
from gpuworker.core.modalities.options import Caps, ReadOptions
from gpuworker.core.modalities.problems import ProblemLog
from gpuworker.core.modalities.sheets import Cell, Sheet, open_sheet
from gpuworker.core.protocols import SourceFile

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
_LABEL = re.compile(r"^y$|(^|_)(labels?|class|classes|target|gold|ground_truth|outcome|is_match|matched|sentiment)$")
_ASIDE = re.compile(r"^(split|fold|subset|partition|subject|trial|index|idx|id|row_id|unnamed: 0|.*_id)$")
_NO_NUMBER = re.compile(r"[_]")


@dataclass(frozen=True, slots=True)
class Records:
    """N rows: columns[name][i] came from row origin[i][1] of file origin[i][0]. label_names: stored in a file, or empty."""

    columns: dict[str, list[Cell]]
    origin: list[tuple[str, int]]
    label_names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns)


def looks_like_label(name: str) -> bool:
    """Whether a column's name says that it holds the answer; such columns are never an input unless a person names them."""
    return bool(_LABEL.search(name.lower()))


def is_input(name: str) -> bool:
    """Whether a column may be an input when nobody has chosen: not an answer, an identifier, or a split."""
    return not looks_like_label(name) and not _ASIDE.match(name.lower())


def read_records(files: Sequence[SourceFile], options: ReadOptions, caps: Caps, log: ProblemLog, *, rows: int = 0) -> Records:
    """Rows of all files, one under the other; a column that a file lacks is None there. `rows`: stop after so many."""
    columns: dict[str, list[Cell]] = {}
    origin: list[tuple[str, int]] = []
    stored: tuple[str, ...] = ()
    room = caps.text_chars
    for file in files:
        try:
            sheet = open_sheet(file, options, caps, log)
            _check_columns(file, sheet, options)
            if stored and sheet.label_names and sheet.label_names != stored:
                raise UnreadableSamples("The file stores other label names than the files before it.", detail=file.name)
            stored = stored or sheet.label_names
            room -= _append(columns, origin, file, sheet, options, caps, log, rows, room)
        except (UnreadableSamples, LimitExceeded) as error:
            log.add(file.name, f"{error.title} {error.detail}".strip())
    return Records(columns, origin, stored)


def _check_columns(file: SourceFile, sheet: Sheet, options: ReadOptions) -> None:
    for name in (*options.columns, options.label_column, options.where_column):
        if name and name not in sheet.names:
            found = ", ".join(sheet.names[:20])
            raise UnreadableSamples(f"It has no column {name!r}.", detail=f"Its columns are {found}.", fix="Choose another column.")


def _append(
    columns: dict[str, list[Cell]],
    origin: list[tuple[str, int]],
    file: SourceFile,
    sheet: Sheet,
    options: ReadOptions,
    caps: Caps,
    log: ProblemLog,
    rows: int,
    room: int,
) -> int:
    """Add the rows of one sheet, as long as their text fits into `room` characters; returns how many it has."""
    for name in sheet.names:
        columns.setdefault(name, [None] * len(origin))
    if len(columns) > caps.columns:
        raise LimitExceeded("The files together have too many columns.", detail=f"Allowed {caps.columns}.")
    most = min(caps.rows, caps.cells // max(len(columns), 1))
    place = [columns[name] for name in sheet.names]
    absent = [columns[name] for name in columns if name not in sheet.names]
    where = sheet.names.index(options.where_column) if options.where_column else -1
    held = 0
    for number, cells in sheet.rows:
        if rows and len(origin) >= rows:
            break
        if where >= 0 and as_text(cells[where]) != options.where_value:
            continue
        if len(origin) >= most:
            log.add(file.name, f"Only the first {most} rows of the set are used.", number)
            break
        held += sum(len(cell) for cell in cells if isinstance(cell, str))
        if held > room:
            log.add(
                file.name, f"Only the first {len(origin)} rows are used: the text of a set may have {caps.text_chars} characters.", number
            )
            break
        for column, cell in zip(place, cells, strict=True):
            column.append(cell)
        for column in absent:
            column.append(None)
        origin.append((file.name, number))
    return held


def as_text(cell: Cell) -> str:
    """A cell as a person would type it: 3.0 is "3", None is ""."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        if math.isnan(cell):
            return ""
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    return str(cell)


def as_number(cell: Cell) -> float:
    """A cell as a number, NaN when empty or marked missing. Raises ValueError for other text and for infinities."""
    if cell is None:
        return math.nan
    if isinstance(cell, str):
        text = cell.strip()
        if text.lower() in MISSING:
            return math.nan
        if _NO_NUMBER.search(text):
            raise ValueError(f"{text[:40]!r} is not a number")
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{text[:40]!r} is not a number") from None
    else:
        value = float(cell)
    if math.isinf(value):
        raise ValueError("the number is infinite")
    return value


def is_numeric(cells: Sequence[Cell]) -> bool:
    """Whether every filled cell is a number (infinities count), and at least one is filled."""
    filled = False
    for cell in cells:
        if isinstance(cell, str):
            text = cell.strip()
            if text.lower() in MISSING:
                continue
            try:
                float(text)
            except ValueError:
                return False
            if "_" in text:
                return False
            filled = True
        elif cell is not None:
            filled = True
    return filled


def labels_of(
    cells: Sequence[Cell], wanted: Sequence[str], origin: Sequence[tuple[str, int]], log: ProblemLog
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """(N,) indexes into the returned names; -1 for a cell that names no label, which is reported.

    wanted: the names in order. Cells are names, or whole numbers counting into `wanted`. Without `wanted` the names are
    the distinct cells: in numeric order when all are whole numbers, else in code point order.
    """
    texts = [as_text(cell).strip() for cell in cells]
    names = tuple(wanted) if wanted else _distinct({text for text in texts if text})
    index = {name: i for i, name in enumerate(names)}
    labels = np.full(len(texts), -1, np.int64)
    for i, text in enumerate(texts):
        found = index.get(text, -1)
        if found < 0 and wanted and text.isascii() and text.isdigit() and len(text) < 9 and int(text) < len(names):
            found = int(text)
        labels[i] = found
        if found < 0:
            log.add(origin[i][0], f"{text[:40]!r} is none of the labels." if text else "It has no label.", origin[i][1])
    return labels, names


def _distinct(texts: set[str]) -> tuple[str, ...]:
    if all(re.fullmatch(r"-?\d{1,15}", text) for text in texts):
        return tuple(sorted(texts, key=int))
    return tuple(sorted(texts))
