"""Zip archives read defensively: entries listed and capped before a byte is used, nothing written to disk."""

from __future__ import annotations

import io
import zipfile
from typing import BinaryIO

from gpuworker.core.errors import LimitExceeded, UnreadableModel

MAX_ENTRIES = 50_000
MAX_TOTAL = 2 << 30
MAX_NAME = 400
MAX_RATIO = 200
_FIX = "Export the model again and upload the new file."


def open_archive(stream: BinaryIO, *, stored_only: bool) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """The archive and its files by name. stored_only: compressed entries are refused.

    Raises UnreadableModel for traversal, repeated names, encryption or lying sizes, LimitExceeded for too much of anything.
    """
    try:
        stream.seek(0)
        archive = zipfile.ZipFile(stream)
        entries = archive.infolist()
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
        raise UnreadableModel("The archive cannot be read.", detail=str(error)[:200], fix=_FIX) from error
    if len(entries) > MAX_ENTRIES:
        raise LimitExceeded("The archive has too many entries.", detail=f"Found {len(entries)}, at most {MAX_ENTRIES}.", fix=_FIX)
    total = sum(entry.file_size for entry in entries)
    if total > MAX_TOTAL:
        raise LimitExceeded("The archive is too large.", detail=f"It unpacks to {total} bytes, at most {MAX_TOTAL}.", fix=_FIX)
    files: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        _check(entry, stored_only)
        if entry.filename in files:
            raise UnreadableModel("The archive is malformed.", detail=f"{entry.filename!r} is listed twice.", fix=_FIX)
        if not entry.is_dir():
            files[entry.filename] = entry
    return archive, files


def _check(entry: zipfile.ZipInfo, stored_only: bool) -> None:
    name = entry.filename
    if len(name) > MAX_NAME or name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or "\0" in name or ":" in name:
        raise UnreadableModel("The archive names a file outside itself.", detail=repr(name[:80]), fix=_FIX)
    if entry.flag_bits & 1:
        raise UnreadableModel("The archive is encrypted.", detail=repr(name[:80]), fix=_FIX)
    if stored_only and (entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size):
        raise UnreadableModel("The archive has a compressed entry.", detail=f"{name[:80]!r}: expected stored bytes.", fix=_FIX)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableModel("The archive uses an unknown compression.", detail=repr(name[:80]), fix=_FIX)
    if entry.file_size > 1 << 20 and entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
        raise LimitExceeded("The archive unpacks to far more than it holds.", detail=repr(name[:80]), fix=_FIX)


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int = MAX_TOTAL) -> bytes:
    """The bytes of one entry; its size must be what the listing says."""
    if entry.file_size > limit:
        raise LimitExceeded("An entry of the archive is too large.", detail=f"{entry.filename[:80]!r}: at most {limit} bytes.", fix=_FIX)
    try:
        with archive.open(entry) as stream:
            data = stream.read(entry.file_size + 1)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise UnreadableModel(
            "An entry of the archive cannot be read.", detail=f"{entry.filename[:80]!r}: {error}"[:200], fix=_FIX
        ) from error
    if len(data) != entry.file_size:
        raise UnreadableModel("An entry of the archive is cut short.", detail=repr(entry.filename[:80]), fix=_FIX)
    return data


def unpack_zip(stream: BinaryIO) -> dict[str, BinaryIO]:
    """Files of an uploaded zip by base name, in memory. Folders are flattened; hidden files and Mac metadata are left out."""
    archive, files = open_archive(stream, stored_only=False)
    found: dict[str, BinaryIO] = {}
    with archive:
        for name, entry in files.items():
            base = name.rsplit("/", 1)[-1]
            if base.startswith(".") or name.startswith("__MACOSX/"):
                continue
            if base in found:
                raise UnreadableModel(
                    "The archive is ambiguous.", detail=f"{base!r} is there twice.", fix="Zip only the files of one model."
                )
            found[base] = io.BytesIO(read_entry(archive, entry))
    return found
