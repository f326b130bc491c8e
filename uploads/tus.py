"""The tus 1.0 protocol: headers in, headers out (https://tus.io/protocols/resumable-upload). Knows no request and no row."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from dataclasses import dataclass

VERSION = "1.0.0"
EXTENSIONS = ("creation", "creation-with-upload", "checksum", "termination", "expiration")
CHECKSUMS = ("sha256",)
CONTENT_TYPE = "application/offset+octet-stream"
CHUNK_MAX_BYTES = 64 * 1024**2
CHUNK_ADVISED_BYTES = 8 * 1024**2
NAME_MAX = 1000
METADATA_MAX = 16384


class BadHeader(Exception):
    """A header is missing or does not parse; the text names it, what it held and what it should hold."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What `Upload-Metadata` says about a file. name: the person's own path, a label only, never a path of ours."""

    name: str
    purpose: str


def parse_length(value: str | None, name: str) -> int:
    """A header that counts bytes: decimal digits only."""
    if value is None:
        raise BadHeader(f"The header {name} is missing; it must hold a number of bytes.")
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise BadHeader(f"{name} is {value[:40]!r}; it must be a number of bytes in decimal digits.")
    return int(value)


def parse_metadata(value: str | None) -> Metadata:
    """`filename <base64>,purpose <base64>`, and `relativePath` for a file of a folder; further keys are ignored."""
    if value is not None and len(value) > METADATA_MAX:
        raise BadHeader(f"Upload-Metadata has {len(value)} characters; at most {METADATA_MAX} are read.")
    pairs: dict[str, str] = {}
    for item in (value or "").split(","):
        key, _, encoded = item.strip().partition(" ")
        if not key:
            continue
        if key in pairs:
            raise BadHeader(f"Upload-Metadata names {key!r} twice.")
        try:
            pairs[key] = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise BadHeader(f"The value of {key!r} in Upload-Metadata is not base64 of UTF-8 text.") from error
    for key in ("filename", "purpose"):
        if not pairs.get(key):
            raise BadHeader(f"Upload-Metadata lacks {key!r}. It needs: filename <base64>,purpose <base64>.")
    return Metadata(clean_name(pairs.get("relativePath") or pairs["filename"]), pairs["purpose"])


def clean_name(name: str) -> str:
    """The name as it is shown: / between folders, no empty or "." parts, no control characters. ".." is refused."""
    shown = "".join(
        char for char in unicodedata.normalize("NFC", name.replace("\\", "/")) if unicodedata.category(char) not in ("Cc", "Cf")
    )
    parts = [part.strip() for part in shown.split("/")]
    parts = [part for part in parts if part not in ("", ".")]
    if not parts or ".." in parts:
        raise BadHeader(f"The file name {name[:80]!r} is empty or climbs out of its folder with '..'.")
    clean = "/".join(parts)
    if len(clean) > NAME_MAX:
        raise BadHeader(f"The file name has {len(clean)} characters; at most {NAME_MAX} are kept.")
    return clean


def format_metadata(name: str, purpose: str) -> str:
    """The inverse of parse_metadata, for HEAD."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in (("filename", name), ("purpose", purpose)))


def parse_checksum(value: str | None) -> bytes | None:
    """`sha256 <base64>`: the 32 bytes promised; None without the header."""
    if value is None:
        return None
    algorithm, _, encoded = value.strip().partition(" ")
    if algorithm not in CHECKSUMS:
        raise BadHeader(f"The checksum algorithm {algorithm[:20]!r} is not known; use {', '.join(CHECKSUMS)}.")
    try:
        digest = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error as error:
        raise BadHeader("The digest in Upload-Checksum is not base64.") from error
    if len(digest) != 32:
        raise BadHeader(f"The digest in Upload-Checksum has {len(digest)} bytes; sha256 has 32.")
    return digest
