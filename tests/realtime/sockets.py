"""A browser's side of a WebSocket on the real ASGI application, without a network."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.test import Client

from accounts.models import User
from config.asgi import application

Headers = list[tuple[bytes, bytes]]


class Socket(ApplicationCommunicator):  # type: ignore[misc]
    """`open` says whether the application accepted."""

    def __init__(self, headers: Headers, search_id: int, after: str = "0") -> None:
        scope = {
            "type": "websocket",
            "path": f"/ws/searches/{search_id}/",
            "query_string": f"after={after}".encode(),
            "headers": headers,
            "subprotocols": [],
        }
        super().__init__(application, scope)

    async def open(self) -> bool:
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(10)
        return bool(answer["type"] == "websocket.accept")

    async def message(self) -> dict[str, Any]:
        """The next message, as the browser parses it."""
        sent = await self.receive_output(10)
        assert sent["type"] == "websocket.send", sent
        return dict(json.loads(sent["text"]))

    async def close_code(self) -> int:
        sent = await self.receive_output(10)
        assert sent["type"] == "websocket.close", sent
        return int(sent["code"])

    async def leave(self) -> None:
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(10)


def cookie(user: User | None) -> Headers:
    """Headers of a browser of this person."""
    headers = [(b"origin", b"http://localhost")]
    if user is not None:
        browser = Client()
        browser.force_login(user)
        headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}".encode()))
    return headers


@asynccontextmanager
async def opened(headers: Headers, search_id: int, after: int | str = 0) -> AsyncIterator[Socket]:
    socket = Socket(headers, search_id, str(after))
    assert await socket.open()
    try:
        yield socket
    finally:
        await socket.leave()
