"""Bytes of uploads on disk. Constant memory: nothing here holds more than one block."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

BLOCK = 1024**2


class Readable(Protocol):
    """A request body: read(n) gives at most n bytes, b"" at its end."""

    def read(self, size: int, /) -> bytes: ...


class Locked(Exception):
    """Another process or thread writes to the file."""


class BytesLost(Exception):
    """The file is shorter than its row says."""


class Overflow(Exception):
    """The body goes on past the end of the file."""


class BadChecksum(Exception):
    """The body is not what its sender promised. `found` is the hexadecimal digest of what came."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


def create(path: Path) -> None:
    """An empty file that only we can read; its folder entry is on disk on return."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def open_locked(path: Path, offset: int) -> Iterator[BinaryIO]:
    """The file, cut back to `offset`, ours alone.

    The lock is the second one: the row's lock is lost when the database connection breaks, this one only when we end.
    What lies beyond `offset` came from a request that died before its row was updated, and is overwritten.
    """
    try:
        file = path.open("r+b")
    except FileNotFoundError as error:
        raise BytesLost(str(path)) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Locked(str(path)) from error
        if os.fstat(file.fileno()).st_size < offset:
            raise BytesLost(str(path))
        file.truncate(offset)
        file.seek(offset)
        yield file


def append(file: BinaryIO, body: Readable, *, room: int, sha256: bytes | None) -> int:
    """Write the body at the file's position, at most `room` bytes, and sync it; returns how many were written.

    Raises Overflow or BadChecksum with the file cut back to where it was.
    """
    start = file.tell()
    digest = hashlib.sha256() if sha256 is not None else None
    written = 0
    try:
        while block := body.read(BLOCK):
            written += len(block)
            if written > room:
                raise Overflow
            if digest is not None:
                digest.update(block)
            file.write(block)
        if digest is not None and digest.digest() != sha256:
            raise BadChecksum(digest.hexdigest())
        file.flush()
        os.fsync(file.fileno())
    except BaseException:
        file.truncate(start)
        raise
    return written


def head(file: BinaryIO, size: int) -> bytes:
    """The first `size` bytes; the position does not change."""
    file.flush()
    return os.pread(file.fileno(), size, 0)


def digest_of(file: BinaryIO) -> str:
    """Hexadecimal SHA-256 of the whole file; the position does not change."""
    file.flush()
    digest, position = hashlib.sha256(), 0
    while block := os.pread(file.fileno(), BLOCK, position):
        digest.update(block)
        position += len(block)
    return digest.hexdigest()
