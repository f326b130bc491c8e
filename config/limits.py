"""What becomes of request bodies before Django sees them: too long ones are refused, cut pieces of uploads are kept.

Django spools a whole body to disk before any view is asked, and asks none when the connection ends before the body does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class BodyLimit:
    """ASGI wrapper: answers 413 as soon as Content-Length, or what has come of a body without one, exceeds `max_bytes`."""

    def __init__(self, app: App, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > self.max_bytes:
            await self._refuse(send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                await self._refuse(send)
                return {"type": "http.disconnect"}
            return message

        await self.app(scope, counted, send)

    async def _refuse(self, send: Send) -> None:
        problem = {
            "type": "urn:modelshop:body_too_large",
            "title": "The request is too large.",
            "status": 413,
            "detail": f"One request may hold at most {self.max_bytes} bytes.",
            "fix": "Send a file in pieces; GET /uploads/ says how large they may be.",
        }
        headers = [(b"content-type", b"application/problem+json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(problem).encode()})


class KeptPieces:
    """ASGI wrapper for the addresses of uploads: where the connection is cut, the body ends, and the view takes what has come.

    What to do with a part is the view's to say: one that came with a checksum of the whole is no use. Nobody hears the answer.
    """

    def __init__(self, app: App, folder: str) -> None:
        self.app, self.folder = app, folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self.folder) or scope["path"] == self.folder:
            await self.app(scope, receive, send)
            return
        whole = cut = False

        async def until_cut() -> Message:
            nonlocal whole, cut
            if cut:
                await asyncio.get_running_loop().create_future()  # a second end would stop the view in the middle
            message = await receive()
            if message["type"] == "http.disconnect" and not whole:
                cut = True
                return {"type": "http.request", "body": b"", "more_body": False}
            whole = whole or not message.get("more_body", False)
            return message

        await self.app(scope, until_cut, send)
