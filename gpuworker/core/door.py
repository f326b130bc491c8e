"""What kind of model file this is, from its bytes. Torch-free: the web process asks at upload time, before anything is stored.

Content beats the name: a pickle called model.onnx is refused as a pickle.
"""

from __future__ import annotations

import re
import zipfile
from typing import BinaryIO

from gpuworker.core.errors import FormatRefused, UnreadableModel
from gpuworker.core.specs import FORMATS, FormatSpec

HEAD = 64 << 10
_HDF5 = b"\x89HDF\r\n\x1a\n"
_GZIP, _ZLIB, _BZIP, _XZ, _LZ4 = b"\x1f\x8b", (b"\x78\x01", b"\x78\x9c", b"\x78\xda", b"\x78\x5e"), b"BZh", b"\xfd7zXZ", b"\x04\x22\x4d\x18"
_PICKLE_BINARY = re.compile(rb"\x80[\x02-\x05]")
_PICKLE_TEXT = re.compile(rb"(?:\(?[dl]p?\d*\n)?(?:c|\(i)[A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n")
_MAX_ENTRIES = 50_000


def detect(filename: str, stream: BinaryIO, size: int) -> FormatSpec:
    """The accepted format of a file. stream: seekable, left at its start; at most 64 KiB and a zip's listing are read.

    Raises FormatRefused with the reason and how to export instead, UnreadableModel for an empty or unrecognised file.
    """
    stream.seek(0)
    head = stream.read(min(HEAD, max(size, 0)))
    try:
        key = _zip_kind(filename, stream) if head[:4] in (b"PK\x03\x04", b"PK\x05\x06") else _kind(filename, head, size)
    finally:
        stream.seek(0)
    spec = FORMATS[key]
    if not spec.accepted:
        name = filename.rsplit("/", 1)[-1][:120]
        raise FormatRefused(
            f"{spec.label} files are not opened.", detail=f"{name!r} is one by its content. {spec.why}".strip(), fix=spec.instead
        )
    return spec


def _kind(filename: str, head: bytes, size: int) -> str:
    if not head:
        raise UnreadableModel("The file is empty.", detail=f"{filename[:120]!r} has {size} bytes.", fix="Upload the model file again.")
    name = filename.lower()
    if head.startswith(_HDF5):
        return "keras"
    if head[4:8] == b"TFL3":
        return "tflite"
    if _is_pickle(head):
        return "torch_save" if name.endswith(FORMATS["torch_save"].extensions) else "joblib" if name.endswith(".joblib") else "pickle"
    if head.startswith((_GZIP, _BZIP, _XZ, _LZ4, *_ZLIB)):
        return "joblib" if not name.endswith(".onnx") else _unknown(filename, "it is compressed")
    if _is_safetensors(head, size):
        return "safetensors"
    if _is_onnx(head):
        return "onnx"
    return _unknown(filename, "its content matches no known model format")


def _unknown(filename: str, why: str) -> str:
    accepted = ", ".join(sorted({ending for spec in FORMATS.values() if spec.accepted for ending in spec.extensions}))
    raise UnreadableModel(
        "The file is not a model of a known format.",
        detail=f"{filename[:120]!r}: {why}.",
        fix=f"Upload one of {accepted}. {FORMATS['pickle'].instead}",
    )


def _is_pickle(head: bytes) -> bool:
    """Protocol 2 and later start with their number; older ones with an opcode that names a class."""
    return _PICKLE_BINARY.match(head) is not None or _PICKLE_TEXT.match(head) is not None


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and head[8:9] == b"{" and 2 <= length <= size - 8


def _is_onnx(head: bytes) -> bool:
    """A ModelProto: fields in rising order, first ir_version (1) as a small number, then texts, opset imports (8) or the graph (7).

    Walked as far as the head reaches; a field number or wire type that ModelProto does not have says no.
    """
    place, seen = 0, set()
    kinds = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
    while place < len(head):
        tag, place = _varint(head, place)
        field, wire = tag >> 3, tag & 7
        if kinds.get(field) != wire:
            return False
        value, place = _varint(head, place)
        if field == 1 and not 0 < value < 1_000:
            return False
        seen.add(field)
        if wire == 2:
            place += value
    return 7 in seen and bool(seen & {1, 8})


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 64:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            break
    return value, place


def _zip_kind(filename: str, stream: BinaryIO) -> str:
    """By the names inside; nothing is unpacked."""
    try:
        stream.seek(0)
        with zipfile.ZipFile(stream) as archive:
            names = [entry.filename for entry in archive.infolist()[: _MAX_ENTRIES + 1]]
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
        raise UnreadableModel(
            "The archive cannot be read.", detail=f"{filename[:120]!r}: {error}"[:300], fix="Upload the file again."
        ) from error
    inner = [name.split("/", 1)[-1] for name in names]
    if any(name.startswith("models/") and name.endswith(".json") for name in inner):
        return "pt2"
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return "torchscript"
    if "data.pkl" in inner:
        return "torch_save"
    if any(name.endswith((".weights.h5", ".h5")) for name in names):
        return "keras"
    if any(name.endswith((".pkl", ".pickle", ".joblib")) for name in names):
        return "pickle"
    bases = [name.rsplit("/", 1)[-1].lower() for name in names]
    if any(base.endswith(".safetensors") for base in bases):
        return "safetensors"
    if sum(base.endswith(".onnx") for base in bases) == 1:
        return "onnx"
    return _unknown(filename, "the archive holds no model of a known format")
