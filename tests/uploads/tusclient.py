"""A tus 1.0 client for tests, over Django's test client."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from django.http import HttpResponse
from django.test import Client

TYPE = "application/offset+octet-stream"


def metadata(**values: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


def checksum(data: bytes) -> str:
    return "sha256 " + base64.b64encode(hashlib.sha256(data).digest()).decode()


@dataclass(slots=True)
class Tus:
    """Sends what a well-behaved client sends; `headers` adds or (None) takes away."""

    client: Client
    base: str = "/uploads/"

    def create(self, size: int | str, name: str = "digits.npz", purpose: str = "samples", **headers: str | None) -> HttpResponse:
        sent = {"Upload-Length": str(size), "Upload-Metadata": metadata(filename=name, purpose=purpose)}
        return self._send("post", self.base, b"", sent, headers)

    def created(self, size: int, name: str = "digits.npz", purpose: str = "samples") -> str:
        response = self.create(size, name, purpose)
        assert response.status_code == 201, response.content
        return self.base + response["Location"]

    def patch(self, url: str, offset: int | str, data: bytes, **headers: str | None) -> HttpResponse:
        return self._send("patch", url, data, {"Upload-Offset": str(offset)}, headers, TYPE)

    def head(self, url: str, **headers: str | None) -> HttpResponse:
        return self._send("head", url, None, {}, headers)

    def get(self, url: str) -> HttpResponse:
        return self._send("get", url, None, {}, {})

    def delete(self, url: str, **headers: str | None) -> HttpResponse:
        return self._send("delete", url, None, {}, headers)

    def offset(self, url: str) -> int:
        return int(self.head(url)["Upload-Offset"])

    def _send(
        self, method: str, url: str, data: bytes | None, sent: dict[str, str], changes: dict[str, str | None], kind: str = ""
    ) -> HttpResponse:
        headers: dict[str, str | None] = {"Tus-Resumable": "1.0.0", **sent}
        headers |= {key.replace("_", "-"): value for key, value in changes.items()}
        kept = {key: value for key, value in headers.items() if value is not None}
        call = getattr(self.client, method)
        content_type = kept.pop("Content-Type", kind)
        if data is None:
            return call(url, headers=kept)
        return call(url, data=data, content_type=content_type, headers=kept)
