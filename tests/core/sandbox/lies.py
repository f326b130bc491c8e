"""Bytes that a hostile child may put on its channel instead of a reply."""

from __future__ import annotations

import json
import struct

from gpuworker.core.sandbox.frames import MAX_HEADER


def frame_bytes(header: object, body: bytes = b"", *, header_bytes: int | None = None, body_bytes: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<IQ", header_bytes or len(text), len(body) if body_bytes is None else body_bytes) + text + body


def arrays_header(*listed: object) -> dict[str, object]:
    return {"meta": {}, "token": "?", "arrays": list(listed)}


LIES: dict[str, bytes] = {
    "nothing": b"",
    "half a length": b"\x01\x02",
    "noise": bytes(range(256)) * 4,
    "endless header": frame_bytes(b"{}", header_bytes=MAX_HEADER + 1),
    "endless body": frame_bytes({}, body_bytes=1 << 62),
    "no json": frame_bytes(b"{'a': 1}"),
    "no object": frame_bytes([1, 2]),
    "deep json": frame_bytes(b"[" * 100_000),
    "long number": frame_bytes(b'{"arrays": [], "meta": ' + b"9" * 10_000 + b"}"),
    "nan": frame_bytes(b'{"arrays": [], "meta": {"x": NaN}}'),
    "no arrays": frame_bytes({"meta": {}, "token": "?"}),
    "object dtype": frame_bytes(arrays_header(["x", "object", [1]]), b"\0" * 8),
    "negative size": frame_bytes(arrays_header(["x", "uint8", [-1]]), b""),
    "fractional size": frame_bytes(arrays_header(["x", "uint8", [1.0]]), b"\0"),
    "boolean size": frame_bytes(arrays_header(["x", "uint8", [True]]), b"\0"),
    "huge empty": frame_bytes(arrays_header(["x", "uint8", [0, 1 << 48, 1 << 48]])),
    "many dimensions": frame_bytes(arrays_header(["x", "uint8", [1] * 40]), b"\0"),
    "too few bytes named": frame_bytes(arrays_header(["x", "uint8", [1]]), b"\0\0"),
    "too many bytes named": frame_bytes(arrays_header(["x", "uint8", [9]]), b"\0\0"),
    "same name twice": frame_bytes(arrays_header(["x", "uint8", [1]], ["x", "uint8", [1]]), b"\0\0"),
    "name is no text": frame_bytes(arrays_header([7, "uint8", [1]]), b"\0"),
    "false booleans": frame_bytes(arrays_header(["x", "bool", [1]]), b"\x07"),
    "another's token": frame_bytes(arrays_header()),
    "error is no object": frame_bytes({"error": 7, "arrays": [], "token": "?"}),
    "not utf-8": frame_bytes(b'{"\xff": 1}'),
}
