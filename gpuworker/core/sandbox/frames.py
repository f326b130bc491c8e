"""The wire: one JSON header and raw little-endian arrays per message. No pickle; every length is checked before it is used.

A frame is `<I header bytes> <Q body bytes> header body`; the body holds the header's arrays one after the other in C order.
A parent reads frames that a hostile child wrote: `read_frame` raises `FrameError` for whatever is not exactly as promised.
"""

from __future__ import annotations

import array
import json
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.sandbox.staging import count_items
from gpuworker.core.texts import storable

MAX_HEADER = 4 << 20
MAX_ARRAYS = 20_000
MAX_NAME = 400
FDS_PER_MESSAGE = 200
_HEAD = struct.Struct("<IQ")
# Where none of these is in the bytes of the JSON, no text in it holds what a database cannot store.
_UNSTORABLE_MARKS = (b"\\u0000", b"\\ud", b"\\uD", b"\xed")
_DTYPES = {str(np.dtype(name)): np.dtype(name) for name in ("?", "u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")}


class FrameError(Exception):
    """The other side sent something that is no frame."""


class TooLarge(FrameError):
    """A well-formed frame whose arrays take more bytes than were asked for."""


class Closed(Exception):
    """The other side closed the channel."""


@dataclass(frozen=True, slots=True)
class Frame:
    header: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


class Deadline:
    """Clock time that a whole exchange may take; None = for ever, on a channel that blocks."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def arm(self, channel: socket.socket) -> None:
        """Give the next operation what is left. Raises TimeoutError when nothing is."""
        if self._end is None:
            return
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        channel.settimeout(left)


def write_frame(channel: socket.socket, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], deadline: Deadline) -> None:
    """Send one frame. Raises ValueError for what cannot be sent (NaN in the header, object arrays), OSError, TimeoutError."""
    plain = {name: np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<")) for name, value in arrays.items()}
    for name, value in plain.items():
        if str(value.dtype) not in _DTYPES:
            raise ValueError(f"array {name!r} has dtype {value.dtype}")
    listed = [[name, str(value.dtype), list(arrays[name].shape)] for name, value in plain.items()]
    text = json.dumps(dict(header) | {"arrays": listed}, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > MAX_HEADER:
        raise ValueError(f"the message has {len(text)} bytes beside its arrays, at most {MAX_HEADER} fit")
    _send(channel, memoryview(_HEAD.pack(len(text), sum(value.nbytes for value in plain.values())) + text), deadline)
    for value in plain.values():
        if value.nbytes:
            _send(channel, value.reshape(-1).view(np.uint8).data, deadline)


def read_frame(channel: socket.socket, max_body: int, deadline: Deadline) -> Frame:
    """Receive one frame of at most `max_body` bytes of arrays. Raises FrameError, Closed, TimeoutError, OSError."""
    header_bytes, body_bytes = _HEAD.unpack(_receive(channel, _HEAD.size, deadline))
    if header_bytes > MAX_HEADER:
        raise FrameError(f"a header of {header_bytes} bytes, at most {MAX_HEADER} are allowed")
    if body_bytes > max_body:
        raise TooLarge(f"arrays of {body_bytes} bytes, at most {max_body} are allowed")
    try:
        text = bytes(_receive(channel, header_bytes, deadline))
        header = json.loads(text, parse_constant=_refuse_constant)
        if not isinstance(header, dict):
            raise ValueError("the header is not an object")
        if any(mark in text for mark in _UNSTORABLE_MARKS):
            header = storable(header)
        listed = _listed_arrays(header.pop("arrays", None), body_bytes)
    except (ValueError, RecursionError) as error:
        raise FrameError(str(error)[:300]) from error
    arrays: dict[str, NDArray[Any]] = {}
    for name, dtype, shape in listed:
        try:
            value = np.empty(shape, dtype)
        except ValueError as error:
            raise FrameError(f"array {name[:80]!r}: {error}") from error
        if value.nbytes:
            _receive_into(channel, value.reshape(-1).view(np.uint8).data, deadline)
        if dtype == np.bool_ and value.size and value.view(np.uint8).max() > 1:
            raise FrameError(f"array {name[:80]!r} holds bytes that are no booleans")
        arrays[name] = value
    return Frame(header, arrays)


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} in the header")


def _listed_arrays(listed: Any, body_bytes: int) -> list[tuple[str, np.dtype[Any], tuple[int, ...]]]:
    if not isinstance(listed, list) or len(listed) > MAX_ARRAYS:
        raise ValueError(f"the header lists no arrays, or more than {MAX_ARRAYS}")
    result: dict[str, tuple[str, np.dtype[Any], tuple[int, ...]]] = {}
    total = 0
    for entry in listed:
        if not isinstance(entry, list) or len(entry) != 3:
            raise ValueError("an array is not name, dtype and shape")
        name, dtype_name, shape = entry
        if not isinstance(name, str) or len(name) > MAX_NAME or name in result:
            raise ValueError("an array has no name, a too long one, or one that another has")
        if not isinstance(dtype_name, str) or dtype_name not in _DTYPES:
            raise ValueError(f"array {name[:80]!r} has an unknown dtype")
        dtype = _DTYPES[dtype_name]
        total += count_items(shape) * dtype.itemsize
        if total > body_bytes:
            break
        result[name] = (name, dtype, tuple(shape))
    if total != body_bytes:
        raise ValueError(f"the arrays do not fill the {body_bytes} bytes that follow")
    return list(result.values())


def send_fds(channel: socket.socket, fds: Sequence[int], deadline: Deadline) -> None:
    """Hand over descriptors, some hundred per message (the kernel takes 253)."""
    for start in range(0, len(fds), FDS_PER_MESSAGE):
        batch = array.array("i", fds[start : start + FDS_PER_MESSAGE])
        deadline.arm(channel)
        channel.sendmsg([b"f"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, batch)])


def receive_fds(channel: socket.socket, count: int) -> list[int]:
    """Take `count` descriptors from a side that is trusted. Raises Closed, FrameError."""
    fds = array.array("i")
    while len(fds) < count:
        data, ancillary, flags, _ = channel.recvmsg(1, socket.CMSG_SPACE(FDS_PER_MESSAGE * fds.itemsize))
        if not data:
            raise Closed
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if flags & socket.MSG_CTRUNC or not ancillary:
            raise FrameError("descriptors were lost on the way")
    return list(fds)


def _send(channel: socket.socket, data: memoryview, deadline: Deadline) -> None:
    while data.nbytes:
        deadline.arm(channel)
        data = data[channel.send(data) :]


def _receive(channel: socket.socket, count: int, deadline: Deadline) -> bytearray:
    buffer = bytearray(count)
    _receive_into(channel, memoryview(buffer), deadline)
    return buffer


def _receive_into(channel: socket.socket, view: memoryview, deadline: Deadline) -> None:
    while view.nbytes:
        deadline.arm(channel)
        count = channel.recv_into(view)
        if count == 0:
            raise Closed
        view = view[count:]
