"""Sample batches as bytes, by row, and by content.

Layout of `SampleBatch.arrays`: an array `a` with a companion `a.offsets` (int64, N + 1) is ragged: row i is
`a[offsets[i]:offsets[i + 1]]`, flat. Every other array has N as its first axis. A string column is a ragged uint8
array of UTF-8.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from gpuworker.core.errors import UnreadableSamples
from gpuworker.core.protocols import SampleBatch

VERSION = "modelshop.batch/1"
OFFSETS = ".offsets"
_HEAD = "batch.json"
_MAX_HEAD_BYTES = 16_000_000


def string_column(name: str, values: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Two arrays holding N strings: `name` (flat uint8 UTF-8) and `name.offsets` (int64, N + 1). Lone surrogates become '?'."""
    encoded = [value.encode("utf-8", "replace") for value in values]
    return ragged_column(name, encoded)


def ragged_column(name: str, rows: Sequence[bytes]) -> dict[str, NDArray[Any]]:
    """Two arrays holding N byte strings."""
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return {name: np.frombuffer(b"".join(rows), np.uint8), name + OFFSETS: offsets}


def strings(batch: SampleBatch, name: str, start: int = 0, stop: int | None = None) -> list[str]:
    """Rows start..stop of a string column."""
    offsets = batch.arrays[name + OFFSETS]
    stop = batch.n if stop is None else min(stop, batch.n)
    base = int(offsets[start]) if batch.n else 0
    flat = batch.arrays[name][base : int(offsets[stop])].tobytes()
    ends = (offsets[start : stop + 1] - base).tolist()
    return [flat[low:high].decode("utf-8") for low, high in zip(ends[:-1], ends[1:], strict=True)]


def take(batch: SampleBatch, rows: Sequence[int] | NDArray[np.int64]) -> SampleBatch:
    """The batch of the given rows, in the given order. Raises IndexError for a row outside 0..N-1."""
    index = np.asarray(rows, np.int64)
    if index.size and (index.min() < 0 or index.max() >= batch.n):
        raise IndexError(f"rows must lie in 0..{batch.n - 1}, found {int(index.min())}..{int(index.max())}")
    arrays: dict[str, NDArray[Any]] = {}
    for name, array in batch.arrays.items():
        if name.endswith(OFFSETS):
            continue
        if name + OFFSETS not in batch.arrays:
            arrays[name] = array[index]
            continue
        offsets = batch.arrays[name + OFFSETS]
        lengths = (offsets[1:] - offsets[:-1])[index]
        ends = np.zeros(len(index) + 1, np.int64)
        np.cumsum(lengths, out=ends[1:])
        # Position inside the source of every kept element: its row's start plus its place inside the row.
        source = np.repeat(offsets[:-1][index] - ends[:-1], lengths) + np.arange(ends[-1])
        arrays[name] = array[source]
        arrays[name + OFFSETS] = ends
    return SampleBatch(batch.modality, len(index), arrays, batch.meta)


def dump_batch(batch: SampleBatch) -> bytes:
    """The batch as one safetensors file."""
    head = json.dumps({"version": VERSION, "modality": batch.modality, "n": batch.n, "meta": batch.meta}, sort_keys=True)
    arrays = {name: np.ascontiguousarray(array) for name, array in batch.arrays.items()}
    return safetensors.numpy.save({**arrays, _HEAD: np.frombuffer(head.encode(), np.uint8)})


def load_batch(buffer: bytes) -> SampleBatch:
    """A batch from `dump_batch`. Checks everything: the bytes come from a sandboxed child. Raises UnreadableSamples."""
    try:
        arrays = safetensors.numpy.load(buffer)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _broken(f"It is not a safetensors file: {error}") from error
    raw = arrays.pop(_HEAD, None)
    if raw is None or raw.dtype != np.uint8 or raw.size > _MAX_HEAD_BYTES:
        raise _broken("Its head is missing or too long.")
    try:
        head = json.loads(raw.tobytes())
    except (ValueError, RecursionError) as error:
        raise _broken("Its head is not JSON.") from error
    if not isinstance(head, dict) or head.get("version") != VERSION:
        raise _broken(f"Its head does not say {VERSION}.")
    modality, n, meta = head.get("modality"), head.get("n"), head.get("meta")
    if not isinstance(modality, str) or not isinstance(n, int) or isinstance(n, bool) or n < 0 or not isinstance(meta, dict):
        raise _broken("Its head lacks modality, n or meta.")
    _check_arrays(arrays, n)
    return SampleBatch(modality, n, arrays, meta)


def content_hash(batch: SampleBatch) -> str:
    """SHA-256 over modality, arrays and meta: equal batches, and only those, have equal hashes."""
    digest = hashlib.sha256()
    head = {"version": VERSION, "modality": batch.modality, "n": batch.n, "meta": batch.meta}
    _feed(digest, json.dumps(head, sort_keys=True).encode())
    for name in sorted(batch.arrays):
        array = np.ascontiguousarray(batch.arrays[name])
        _feed(digest, json.dumps([name, array.dtype.str, array.shape]).encode())
        _feed(digest, array.tobytes())
    return digest.hexdigest()


def row_digests(batch: SampleBatch) -> list[bytes]:
    """16 bytes for each row: equal rows of equal columns have equal digests, in whatever batch they stand."""
    columns = [_row_bytes(batch.arrays, name) for name in sorted(batch.arrays) if not name.endswith(OFFSETS)]
    digests = []
    for parts in zip(*columns, strict=True):
        digest = hashlib.blake2b(digest_size=16)
        for part in parts:
            _feed(digest, part)
        digests.append(digest.digest())
    return digests


def _row_bytes(arrays: Mapping[str, NDArray[Any]], name: str) -> Iterator[bytes]:
    array = arrays[name]
    if name + OFFSETS not in arrays:
        return (np.ascontiguousarray(row).tobytes() for row in array)
    ends = arrays[name + OFFSETS].tolist()
    return (array[low:high].tobytes() for low, high in zip(ends[:-1], ends[1:], strict=True))


def _feed(digest: Any, part: bytes) -> None:
    # The length first, so that no two sequences of parts run together into the same bytes.
    digest.update(len(part).to_bytes(8, "little"))
    digest.update(part)


def _check_arrays(arrays: Mapping[str, NDArray[Any]], n: int) -> None:
    for name, array in arrays.items():
        if name.endswith(OFFSETS):
            _check_offsets(arrays, name, n)
        elif name + OFFSETS not in arrays and (array.ndim == 0 or array.shape[0] != n):
            raise _broken(f"Array {name} has shape {array.shape}, expected {n} rows.")


def _check_offsets(arrays: Mapping[str, NDArray[Any]], name: str, n: int) -> None:
    offsets, flat = arrays[name], arrays.get(name.removesuffix(OFFSETS))
    if flat is None or flat.ndim != 1:
        raise _broken(f"Array {name} belongs to no flat array.")
    if offsets.dtype != np.int64 or offsets.shape != (n + 1,):
        raise _broken(f"Array {name} is {offsets.dtype} {offsets.shape}, expected int64 ({n + 1},).")
    if offsets[0] != 0 or offsets[-1] != flat.size or bool((np.diff(offsets) < 0).any()):
        raise _broken(f"Array {name} does not cut its array into rows.")


def _broken(detail: str) -> UnreadableSamples:
    return UnreadableSamples("The stored sample batch cannot be read.", detail=detail, fix="Upload the samples again.")
