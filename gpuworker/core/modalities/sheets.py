"""Rows of one CSV, TSV, JSONL, Parquet or text file, read as a stream; broken rows are reported and passed over.

CSV is read with the standard library instead of pyarrow: pyarrow gives up the whole file at the first bad byte, and a
sample set must name its bad rows.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gpuworker.core.errors import LimitExceeded, UnreadableSamples
from gpuworker.core.modalities.options import Caps, ReadOptions
from gpuworker.core.modalities.problems import ProblemLog
from gpuworker.core.protocols import SourceFile
from gpuworker.core.texts import is_storable

Cell = str | float | int | bool | None
DELIMITERS = (",", "\t", ";", "|")
EXTENSIONS = (".csv", ".tsv", ".jsonl", ".parquet", ".txt")
_BATCH_ROWS = 4_096
_JSON_NAME_ROWS = 1_000
_MAX_THRIFT = 64 << 20
_FIX_PARQUET = "Write it again with pyarrow or pandas, in row groups of at most a million rows."


@dataclass(frozen=True, slots=True)
class Sheet:
    """One file as columns and a stream of (row number, cells); the header is not counted. label_names: stored in the file, or empty."""

    names: tuple[str, ...]
    rows: Iterator[tuple[int, Sequence[Cell]]]
    label_names: tuple[str, ...] = ()


def open_sheet(file: SourceFile, options: ReadOptions, caps: Caps, log: ProblemLog) -> Sheet:
    """The sheet of a file, chosen by its name. Raises UnreadableSamples or LimitExceeded when no row can be read."""
    if file.size > caps.file_bytes:
        raise LimitExceeded(
            "The file is too large.", detail=f"{file.name}: {file.size} bytes, allowed {caps.file_bytes}.", fix="Keep fewer rows."
        )
    file.stream.seek(0)
    name = file.name.lower()
    if name.endswith(".parquet"):
        return _parquet(file, options, caps, log)
    if name.endswith(".jsonl"):
        return _jsonl(file, options, caps, log)
    if name.endswith((".csv", ".tsv")):
        return _csv(file, options, caps, log)
    if name.endswith(".txt"):
        return Sheet(("text",), ((row, (line,)) for row, line in _clean_lines(file, options, caps, log) if line.strip()))
    raise UnreadableSamples(
        "The file is of no known kind.", detail=f"{file.name}; expected one of {', '.join(EXTENSIONS)}.", fix="Save it as CSV or Parquet."
    )


def check_names(file: SourceFile, names: Sequence[str], caps: Caps) -> tuple[str, ...]:
    """Column names as a tuple. Raises when there are too many, two of one name, or one that no database stores."""
    if len(names) > caps.columns:
        raise LimitExceeded(
            "The file has too many columns.", detail=f"{file.name}: {len(names)}, allowed {caps.columns}.", fix="Keep fewer columns."
        )
    odd = next((name for name in names if not is_storable(name)), None)
    if odd is not None:
        raise UnreadableSamples(
            "A column name holds a character that cannot be stored.", detail=f"{file.name}: {ascii(odd[:100])}.", fix="Rename the column."
        )
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise UnreadableSamples("Two columns have one name.", detail=f"{file.name}: {twice[:100]!r}.", fix="Rename one of them.")
    return tuple(names)


def _lines(file: SourceFile, options: ReadOptions, caps: Caps) -> Iterator[str]:
    head = file.stream.read(2)
    file.stream.seek(0)
    encoding = "utf-16" if head in (b"\xff\xfe", b"\xfe\xff") else options.encoding
    if encoding == "utf-8":
        encoding = "utf-8-sig"
    # Undecodable bytes become lone surrogates, which mark their row as bad without losing the rows after it.
    errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
    text = io.TextIOWrapper(file.stream, encoding=encoding, errors=errors, newline="")
    try:
        while line := text.readline(caps.line_chars + 1):
            if len(line) > caps.line_chars:
                raise LimitExceeded(
                    "A line is too long.", detail=f"{file.name}: allowed {caps.line_chars} characters.", fix="Check the line ends."
                )
            yield line
    finally:
        text.detach()


def _clean_lines(file: SourceFile, options: ReadOptions, caps: Caps, log: ProblemLog) -> Iterator[tuple[int, str]]:
    for row, line in enumerate(_lines(file, options, caps), start=1):
        stripped = line.rstrip("\r\n")
        if not _decoded(stripped):
            log.add(file.name, "The line is not UTF-8.", row)
        elif len(stripped) > caps.cell_chars:
            log.add(file.name, f"The line has {len(stripped)} characters, allowed {caps.cell_chars}.", row)
        else:
            yield row, stripped


def _decoded(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _csv(file: SourceFile, options: ReadOptions, caps: Caps, log: ProblemLog) -> Sheet:
    lines = _lines(file, options, caps)
    first = next(lines, "")
    if not first.strip() or "\0" in first:
        raise UnreadableSamples("The file has no header row.", detail=file.name, fix="Give the columns names in the first row.")
    delimiter = options.delimiter or ("\t" if file.name.lower().endswith(".tsv") else max(DELIMITERS, key=first.count))
    reader = csv.reader(_chain(first, lines), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(reader)]
    except csv.Error as error:
        raise UnreadableSamples("The header row cannot be read.", detail=f"{file.name}: {error}", fix="Check its quotes.") from error
    if not all(_decoded(name) for name in header):
        raise UnreadableSamples("The header row is not UTF-8.", detail=file.name, fix="Save the file as UTF-8, or choose its encoding.")
    return Sheet(check_names(file, header, caps), _csv_rows(file, reader, len(header), caps, log))


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _csv_rows(
    file: SourceFile, reader: Iterator[list[str]], width: int, caps: Caps, log: ProblemLog
) -> Iterator[tuple[int, Sequence[Cell]]]:
    row = 0
    while True:
        row += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            log.add(file.name, f"The row cannot be read: {error}.", row)
            continue
        except LimitExceeded as error:
            log.add(file.name, f"{error.title} Nothing after it was read.", row)
            return
        if not cells:
            row -= 1
            continue
        if len(cells) != width:
            log.add(file.name, f"The row has {len(cells)} cells, expected {width}.", row)
        elif not all(map(_decoded, cells)):
            log.add(file.name, "The row is not UTF-8.", row)
        elif max(map(len, cells)) > caps.cell_chars:
            log.add(file.name, f"A cell is longer than {caps.cell_chars} characters.", row)
        else:
            yield row, cells


def _jsonl(file: SourceFile, options: ReadOptions, caps: Caps, log: ProblemLog) -> Sheet:
    records = _json_records(file, options, caps, log)
    head: list[tuple[int, dict[str, Cell]]] = []
    seen: dict[str, None] = {}
    for row, record in records:
        head.append((row, record))
        seen.update(dict.fromkeys(record))
        if len(head) >= _JSON_NAME_ROWS or len(seen) > caps.columns:
            break
    if not head:
        raise UnreadableSamples(
            "The file holds no JSON objects.", detail=f"{file.name}; expected one object per line.", fix="Write one object per line."
        )
    names = check_names(file, list(seen), caps)

    def rows() -> Iterator[tuple[int, Sequence[Cell]]]:
        for row, record in head:
            yield row, [record.get(name) for name in names]
        for row, record in records:
            yield row, [record.get(name) for name in names]

    return Sheet(names, rows())


def _json_records(file: SourceFile, options: ReadOptions, caps: Caps, log: ProblemLog) -> Iterator[tuple[int, dict[str, Cell]]]:
    for row, line in enumerate(_lines(file, options, caps), start=1):
        if not line.strip():
            continue
        if not _decoded(line):
            log.add(file.name, "The line is not UTF-8.", row)
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            log.add(file.name, f"The line is not JSON: {error}", row)
            continue
        reason = _json_refusal(record, caps)
        if reason:
            log.add(file.name, reason, row)
        else:
            yield row, record


def _json_refusal(record: object, caps: Caps) -> str:
    if not isinstance(record, dict):
        return f"The line holds {type(record).__name__}, expected an object."
    for name, cell in record.items():
        if isinstance(cell, dict | list):
            return f"{name[:100]!r} holds {type(cell).__name__}, expected text or a number."
        if isinstance(cell, str) and (len(cell) > caps.cell_chars or not _decoded(cell)):
            return f"{name[:100]!r} is longer than {caps.cell_chars} characters, or not Unicode."
        if isinstance(cell, int) and abs(cell) > 1 << 63:
            return f"{name[:100]!r} holds a whole number of more than 64 bits."
    return ""


def _parquet(file: SourceFile, options: ReadOptions, caps: Caps, log: ProblemLog) -> Sheet:
    try:
        parquet = pq.ParquetFile(file.stream, pre_buffer=False, thrift_string_size_limit=_MAX_THRIFT, thrift_container_size_limit=1_000_000)
        schema, metadata = parquet.schema_arrow, parquet.metadata
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableSamples("The Parquet file cannot be read.", detail=f"{file.name}: {error}"[:400], fix=_FIX_PARQUET) from error
    inflated = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if inflated > caps.inflated_bytes:
        raise LimitExceeded(
            "The Parquet file is too large unpacked.",
            detail=f"{file.name}: {inflated} bytes, allowed {caps.inflated_bytes}.",
            fix=_FIX_PARQUET,
        )
    check_names(file, schema.names, caps)
    plain = [field.name for field in schema if _plain(field.type)]
    wanted = {*options.columns, options.label_column, options.where_column}
    for field in schema:
        if field.name in wanted and field.name not in plain:
            log.add(file.name, f"Column {field.name!r} holds {field.type}, expected text or numbers.")
    return Sheet(tuple(plain), _parquet_rows(file, parquet, plain, caps, log), _stored_label_names(schema.metadata))


def _plain(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    text = pa.types.is_string(value) or pa.types.is_large_string(value)
    number = pa.types.is_integer(value) or pa.types.is_floating(value) or pa.types.is_decimal(value) or pa.types.is_boolean(value)
    return bool(text or number or pa.types.is_temporal(value) or pa.types.is_null(value))


def _stored_label_names(metadata: dict[bytes, bytes] | None) -> tuple[str, ...]:
    try:
        names = json.loads((metadata or {}).get(b"label_names", b"[]"))
    except (ValueError, RecursionError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) and name for name in names) else ()


def _parquet_rows(
    file: SourceFile, parquet: pq.ParquetFile, names: list[str], caps: Caps, log: ProblemLog
) -> Iterator[tuple[int, Sequence[Cell]]]:
    row = 0
    batches = parquet.iter_batches(batch_size=_BATCH_ROWS, columns=names, use_threads=False)
    while True:
        try:
            batch = next(batches)
            columns = [_cells(batch.column(i)) for i in range(batch.num_columns)]
        except StopIteration:
            return
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            log.add(file.name, f"Nothing after this row could be read: {error}", row + 1)
            return
        for cells in zip(*columns, strict=True):
            row += 1
            if any(isinstance(cell, str) and len(cell) > caps.cell_chars for cell in cells):
                log.add(file.name, f"A cell is longer than {caps.cell_chars} characters.", row)
            else:
                yield row, cells


def _cells(column: pa.Array) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.string())
    elif pa.types.is_decimal(column.type) or pa.types.is_float16(column.type):
        column = column.cast(pa.float64())
    return list(column.to_pylist())
