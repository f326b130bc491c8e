"""Large results in one file, laid out as safetensors: written by the child, checked by the parent before anybody trusts it."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.sandbox.contract import StagedTensor

ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8, "F16": 2, "BF16": 2, "F32": 4, "F64": 8,
}  # fmt: skip
_NUMPY_NAMES = {
    "|b1": "BOOL", "|u1": "U8", "|i1": "I8", "<u2": "U16", "<i2": "I16", "<u4": "U32", "<i4": "I32", "<u8": "U64", "<i8": "I64",
    "<f2": "F16", "<f4": "F32", "<f8": "F64",
}  # fmt: skip
MAX_HEADER = 32 << 20
MAX_TENSORS = 100_000
_CHUNK = 16 << 20


@dataclass(frozen=True, slots=True)
class RawTensor:
    """A tensor to write. data: its little-endian bytes in C order, of which none are copied."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    @classmethod
    def of(cls, array: NDArray[Any]) -> RawTensor:
        name = _NUMPY_NAMES[array.dtype.newbyteorder("<").str]
        flat = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1)
        return cls(name, tuple(array.shape), flat.view(np.uint8).data)


def write_tensors(fd: int, tensors: Mapping[str, RawTensor]) -> int:
    """Write the tensors over the whole file and return its size. Raises OSError (EFBIG) past the limit of the child."""
    header: dict[str, Any] = {}
    position = 0
    for name, tensor in tensors.items():
        nbytes = math.prod(tensor.shape) * ITEM_BYTES[tensor.dtype]
        if tensor.data.nbytes != nbytes:
            raise ValueError(f"{name}: {tensor.data.nbytes} bytes for shape {tensor.shape} of {tensor.dtype}")
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [position, position + nbytes]}
        position += nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    os.ftruncate(fd, 0)
    end = _write_all(fd, memoryview(struct.pack("<Q", len(text)) + text), 0)
    for tensor in tensors.values():
        end = _write_all(fd, tensor.data, end)
    return end


def _write_all(fd: int, data: memoryview, position: int) -> int:
    for start in range(0, data.nbytes, _CHUNK):
        piece = data[start : start + _CHUNK]
        while piece.nbytes:
            written = os.pwrite(fd, piece, position)
            piece, position = piece[written:], position + written
    return position


def read_index(fd: int, max_bytes: int) -> dict[str, StagedTensor]:
    """Read and check the header of a staged file. Raises ValueError naming what does not fit; reads no tensor.

    Tensors must lie one after the other without gap or overlap and fill the file exactly.
    """
    size = os.fstat(fd).st_size
    if size == 0:
        return {}
    if size > max_bytes:
        raise ValueError(f"{size} bytes, at most {max_bytes} are allowed")
    head = os.pread(fd, 8, 0)
    if len(head) < 8:
        raise ValueError("shorter than a header")
    (length,) = struct.unpack("<Q", head)
    if not 2 <= length <= min(MAX_HEADER, size - 8):
        raise ValueError(f"header of {length} bytes in a file of {size}")
    try:
        header = json.loads(os.pread(fd, length, 8))
    except (ValueError, RecursionError) as error:
        raise ValueError("the header is not JSON") from error
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise ValueError(f"the header is not an object of at most {MAX_TENSORS} tensors")
    return _index_of(header, 8 + length, size)


def _index_of(header: Mapping[str, Any], start: int, size: int) -> dict[str, StagedTensor]:
    index: dict[str, StagedTensor] = {}
    position = 0
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"} or str(entry["dtype"]) not in ITEM_BYTES:
            raise ValueError(f"tensor {name[:80]!r}: not dtype, shape and data_offsets")
        shape = entry["shape"]
        nbytes = count_items(shape) * ITEM_BYTES[entry["dtype"]]
        if entry["data_offsets"] != [position, position + nbytes]:
            found = str(entry["data_offsets"])[:80]
            raise ValueError(f"tensor {name[:80]!r}: expected bytes {position} to {position + nbytes}, found {found}")
        index[name] = StagedTensor(entry["dtype"], tuple(shape), start + position, nbytes)
        position += nbytes
    if start + position != size:
        raise ValueError(f"{size} bytes, the header accounts for {start + position}")
    return index


def count_items(shape: Any) -> int:
    """Number of items of a shape that came from outside. Raises ValueError for anything but up to 32 sizes in [0, 2**48]."""
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) > 32:
        raise ValueError("a shape must be a list of at most 32 sizes")
    if not all(type(size) is int and 0 <= size <= 1 << 48 for size in shape):
        raise ValueError("a shape must hold whole numbers from 0 to 2**48")
    return math.prod(shape)
