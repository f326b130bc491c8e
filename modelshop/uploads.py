"""Resumable uploads (tus 1.0): a file that was cut off goes on where it stopped, also in a later run of the command."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

import httpx

from modelshop.errors import NotReached, Refused

CHUNK = 8 * 1024**2
CHUNK_LEAST = 256 * 1024
CONTENT_TYPE = "application/offset+octet-stream"
AGAIN = (409, 423, 460)  # the server is further on than we knew, still writes the piece that was cut, or got damaged bytes
TRIES = 5
PAUSE = 0.5  # seconds before the first retry; doubled each time

Progress = Callable[[str, int, int], None]


class Sender(Protocol):
    """Sends one request and raises ClientError for an answer that is an error, NotReached for none."""

    def request(self, method: str, path: str, *, headers: dict[str, str] | None = None, content: bytes | None = None) -> httpx.Response: ...


class Memory:
    """Which file went to which upload, kept between runs. A missing or broken file is an empty memory."""

    def __init__(self, path: Path | None = None) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._path = path or cache / "modelshop" / "uploads.json"

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def get(self, key: str) -> str | None:
        return self._read().get(key)

    def put(self, key: str, upload_id: str | None) -> None:
        """Remember, or (None) forget. A folder that cannot be written costs only the resuming."""
        table = self._read()
        if upload_id is None:
            table.pop(key, None)
        else:
            table[key] = upload_id
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(table))
            partial.replace(self._path)
        except OSError:
            return


def upload_file(sender: Sender, path: Path, name: str, purpose: str, *, server: str, memory: Memory, progress: Progress) -> str:
    """Send a file; returns the upload's id. `name` is what the server shows. Raises Refused, NotAllowed or NotReached."""
    stat = path.stat()
    key = hashlib.sha256(json.dumps([server, str(path.resolve()), stat.st_size, stat.st_mtime_ns, name, purpose]).encode()).hexdigest()
    upload_id, offset = _resume(sender, memory.get(key), stat.st_size)
    if upload_id is None:
        upload_id, offset = _create(sender, name, purpose, stat.st_size), 0
        memory.put(key, upload_id)
    progress(name, offset, stat.st_size)
    length = CHUNK
    with path.open("rb") as file:
        while offset < stat.st_size:
            offset, length = _send_chunk(sender, upload_id, file, offset, length)
            progress(name, offset, stat.st_size)
    return upload_id


def _resume(sender: Sender, upload_id: str | None, size: int) -> tuple[str | None, int]:
    """The earlier upload and its offset, if the server still has it, unused."""
    if upload_id is None:
        return None, 0
    try:
        state = sender.request("GET", f"/uploads/{upload_id}").json()
    except Refused:
        return None, 0
    usable = state.get("size") == size and not state.get("claimed", False)
    return (upload_id, int(state["offset"])) if usable else (None, 0)


def _create(sender: Sender, name: str, purpose: str, size: int) -> str:
    metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in (("filename", name), ("purpose", purpose)))
    answer = sender.request("POST", "/uploads/", headers={"Upload-Length": str(size), "Upload-Metadata": metadata})
    return answer.headers["Location"].rstrip("/").rsplit("/", 1)[-1]


def _send_chunk(sender: Sender, upload_id: str, file: BinaryIO, offset: int, length: int) -> tuple[int, int]:
    """Send the next bytes, after a failure from where the upload then stands; returns the new offset, and how many to send next.

    A piece whose line is cut has to be sent again as a whole, since its checksum is of the whole: each cut halves the length,
    each success doubles it.
    """
    for attempt in range(TRIES):
        try:
            if attempt:
                offset = int(sender.request("HEAD", f"/uploads/{upload_id}").headers["Upload-Offset"])
            file.seek(offset)
            chunk = file.read(length)
            digest = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
            headers = {
                "Upload-Offset": str(offset),
                "Upload-Checksum": f"sha256 {digest}",
                "Content-Type": "application/offset+octet-stream",
            }
            answer = sender.request("PATCH", f"/uploads/{upload_id}", headers=headers, content=chunk)
            return int(answer.headers["Upload-Offset"]), min(CHUNK, 2 * length)
        except (NotReached, Refused) as error:
            if attempt == TRIES - 1 or (isinstance(error, Refused) and error.status not in AGAIN):
                raise
            length = min(CHUNK, max(CHUNK_LEAST, length // 2))
            time.sleep(PAUSE * 2**attempt)
    raise AssertionError("the last try returns or raises")
