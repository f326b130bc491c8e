"""Zip archives and NumPy files from untrusted streams: every size is checked before anything is inflated."""

from __future__ import annotations

import math
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from gpuworker.core.errors import LimitExceeded, UnreadableSamples
from gpuworker.core.modalities.options import Caps
from gpuworker.core.modalities.problems import ProblemLog
from gpuworker.core.protocols import SourceFile

BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".npz")
_PACKINGS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_MAX_NAME = 400
_MAX_HEADER = 10_000
_MAX_ARRAYS = 256


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What an .npy header says, and how many bytes follow it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    nbytes: int


def zip_entries(file: SourceFile, caps: Caps, log: ProblemLog) -> Iterator[tuple[str, bytes]]:
    """(path, content) of each acceptable entry; the others are reported. Hidden files of macOS and folders are passed over.

    Raises UnreadableSamples when the archive is broken and LimitExceeded when it holds too many or too large entries.
    """
    archive = _open(file)
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > caps.entries:
        raise LimitExceeded("The zip holds too many files.", detail=f"{file.name}: {len(infos)}, allowed {caps.entries}.", fix="Split it.")
    total = sum(info.file_size for info in infos)
    if total > caps.inflated_bytes:
        raise LimitExceeded(
            "The zip is too large unpacked.", detail=f"{file.name}: {total} bytes, allowed {caps.inflated_bytes}.", fix="Split it."
        )
    for info in infos:
        if info.filename.startswith("__MACOSX/") or posixpath.basename(info.filename).startswith("."):
            continue
        name = f"{file.name}/{info.filename}"
        reason = _refusal(info, caps)
        if reason:
            log.add(name, reason)
            continue
        try:
            yield name, archive.read(info)
        except BROKEN_ZIP as error:
            log.add(name, f"The entry cannot be unpacked: {error}")


def _refusal(info: zipfile.ZipInfo, caps: Caps) -> str:
    path = info.filename.replace("\\", "/")
    if len(path) > _MAX_NAME:
        return f"Its name is longer than {_MAX_NAME} characters."
    if path.startswith("/") or ".." in path.split("/") or ":" in path.split("/")[0]:
        return "Its path leaves the archive."
    if (info.external_attr >> 16) & 0o170000 == 0o120000:
        return "It is a link."
    if info.flag_bits & 0x1:
        return "It is encrypted."
    if path.lower().endswith(_ARCHIVES):
        return "It is an archive inside an archive."
    if info.compress_type not in _PACKINGS:
        return "It is packed by a method other than deflate."
    if info.file_size > caps.entry_bytes:
        return f"It has {info.file_size} bytes, allowed {caps.entry_bytes}."
    if info.file_size > caps.ratio * max(info.compress_size, 1):
        return f"It unpacks to more than {caps.ratio} times its size."
    return ""


def npz_headers(file: SourceFile, caps: Caps) -> dict[str, ArrayHeader]:
    """Name > header of every array of an .npz, without inflating data. Raises UnreadableSamples, LimitExceeded."""
    archive = _open(file)
    infos = archive.infolist()
    if len(infos) > _MAX_ARRAYS:
        raise LimitExceeded(
            "The .npz holds too many arrays.", detail=f"{file.name}: {len(infos)}, allowed {_MAX_ARRAYS}.", fix="Keep only the samples."
        )
    headers: dict[str, ArrayHeader] = {}
    for info in infos:
        if info.flag_bits & 0x1 or info.compress_type not in _PACKINGS:
            raise _broken(file, f"{info.filename} is encrypted or packed by a method other than deflate.")
        if not info.filename.endswith(".npy"):
            continue
        key = info.filename.removesuffix(".npy")
        try:
            with archive.open(info) as entry:
                header, start = _read_header(entry, f"{file.name}/{info.filename}")
        except BROKEN_ZIP as error:
            raise _broken(file, f"{info.filename}: {error}") from error
        if header.nbytes + start != info.file_size:
            raise _broken(file, f"{info.filename} declares {header.nbytes + start} bytes and holds {info.file_size}.")
        headers[key] = header
    return headers


def npz_array(file: SourceFile, key: str, header: ArrayHeader, caps: Caps) -> NDArray[Any]:
    """One array whose header was checked by `npz_headers`. Raises UnreadableSamples, LimitExceeded."""
    _check_bytes(file, key, header, caps)
    try:
        with _open(file).open(key + ".npy") as entry:
            return _read_data(entry, f"{file.name}/{key}")
    except BROKEN_ZIP as error:
        raise _broken(file, f"{key}: {error}") from error


def npy_header(file: SourceFile) -> ArrayHeader:
    """The header of an .npy file. Raises UnreadableSamples."""
    file.stream.seek(0)
    try:
        header, start = _read_header(file.stream, file.name)
    except (ValueError, EOFError) as error:
        raise _broken(file, str(error)) from error
    if header.nbytes + start != file.size:
        raise _broken(file, f"It declares {header.nbytes + start} bytes and holds {file.size}.")
    return header


def npy_array(file: SourceFile, caps: Caps) -> NDArray[Any]:
    """The array of an .npy file. Raises UnreadableSamples, LimitExceeded."""
    _check_bytes(file, "the array", npy_header(file), caps)
    file.stream.seek(0)
    try:
        return _read_data(file.stream, file.name)
    except ValueError as error:
        raise _broken(file, str(error)) from error


def text_items(array: NDArray[Any]) -> tuple[str, ...]:
    """The items of an array of strings or numbers as text; 3.0 is "3"."""
    items = array.ravel().tolist()
    return tuple(str(int(item)) if isinstance(item, float) and item.is_integer() else str(item) for item in items)


def _open(file: SourceFile) -> zipfile.ZipFile:
    file.stream.seek(0)
    try:
        return zipfile.ZipFile(file.stream)
    except BROKEN_ZIP as error:
        raise _broken(file, f"It is not a readable zip: {error}") from error


def _read_header(stream: BinaryIO | IO[bytes], place: str) -> tuple[ArrayHeader, int]:
    version = npy_format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = npy_format.read_array_header_1_0(stream, max_header_size=_MAX_HEADER)
    elif version == (2, 0):
        shape, fortran, dtype = npy_format.read_array_header_2_0(stream, max_header_size=_MAX_HEADER)
    else:
        raise ValueError(f"version {version} of the .npy format is not read")
    if dtype.kind not in "biufUS":
        raise ValueError(f"{place} holds {dtype}; expected plain numbers or text, never Python objects")
    if dtype.itemsize == 0 or any(size < 0 for size in shape):
        raise ValueError(f"{place} has type {dtype} and shape {shape}")
    return ArrayHeader(tuple(shape), dtype, bool(fortran), math.prod(shape) * dtype.itemsize), stream.tell()


def _read_data(stream: BinaryIO | IO[bytes], place: str) -> NDArray[Any]:
    header, _ = _read_header(stream, place)
    raw = stream.read(header.nbytes)
    if len(raw) != header.nbytes:
        raise ValueError(f"{place} ends after {len(raw)} of {header.nbytes} bytes")
    return np.frombuffer(raw, header.dtype).reshape(header.shape, order="F" if header.fortran else "C")


def _check_bytes(file: SourceFile, key: str, header: ArrayHeader, caps: Caps) -> None:
    if header.nbytes > caps.inflated_bytes:
        raise LimitExceeded(
            "The array is too large.",
            detail=f"{file.name}: {key} has {header.nbytes} bytes, allowed {caps.inflated_bytes}.",
            fix="Keep fewer samples.",
        )


def _broken(file: SourceFile, detail: str) -> UnreadableSamples:
    return UnreadableSamples(
        "The file cannot be read.", detail=f"{file.name}: {detail}"[:400], fix="Save it again with numpy.savez or a zip program."
    )
