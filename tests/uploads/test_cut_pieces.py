"""A connection that is cut in the middle of a piece, on the whole ASGI application: what the next request finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async as in_database

from accounts.models import ApiToken, Scope, User
from config.asgi import application
from config.limits import KeptPieces
from tests.uploads.tusclient import TYPE, checksum, metadata
from uploads.models import Upload
from uploads.services import upload_create

pytestmark = pytest.mark.django_db(transaction=True)
DATA = bytes(range(100))


@pytest.fixture
def token(alice: User) -> str:
    return ApiToken.issue(alice, name="cut", scopes=[Scope.SEARCH_WRITE], expires=None)[1]


@pytest.fixture
def upload(alice: User) -> Upload:
    return upload_create(owner=alice, purpose="samples", name="scans.npz", size=len(DATA))


async def cut(method: str, path: str, token: str, *parts: bytes, **headers: str) -> None:
    """A request whose body has these parts and no end; returns when the application has done with it."""
    sent = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0", "Content-Type": TYPE, "Host": "localhost"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Length": str(len(DATA))}
    raw = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw, "http_version": "1.1", "scheme": "http"}
    request = ApplicationCommunicator(application, scope)
    for part in parts:
        await request.send_input({"type": "http.request", "body": part, "more_body": True})
    await request.send_input({"type": "http.disconnect"})
    await request.wait(20)


async def test_what_came_before_the_cut_is_kept_and_the_rest_follows(upload: Upload, token: str) -> None:
    path = f"/uploads/{upload.pk}"
    await cut("PATCH", path, token, DATA[:30], DATA[30:40], Upload_Offset="0")
    await in_database(upload.refresh_from_db)()
    assert upload.offset == 40
    await cut("PATCH", path, token, DATA[40:], Upload_Offset="40")  # all bytes, but the word that these were all
    await in_database(upload.refresh_from_db)()
    assert upload.is_complete and upload.path.read_bytes() == DATA


async def test_a_part_is_not_what_the_checksum_of_the_whole_promised(upload: Upload, token: str) -> None:
    await cut("PATCH", f"/uploads/{upload.pk}", token, DATA[:40], Upload_Offset="0", Upload_Checksum=checksum(DATA))
    await in_database(upload.refresh_from_db)()
    assert upload.offset == 0 and upload.path.stat().st_size == 0


async def test_a_cut_creation_leaves_nothing(token: str) -> None:
    """Its sender was never told the address."""
    header = metadata(filename="scans.npz", purpose="samples")
    await cut("POST", "/uploads/", token, DATA[:40], Upload_Length=str(len(DATA)), Upload_Metadata=header)
    assert not await in_database(Upload.objects.exists)()


Receive = Callable[[], Awaitable[dict[str, Any]]]


async def received(path: str, *messages: dict[str, Any]) -> list[tuple[str, bool]]:
    """What an application within is told, until the end of the body or of the connection: (kind, whether more follows)."""
    seen: list[tuple[str, bool]] = []

    async def inner(scope: Any, receive: Receive, send: Any) -> None:
        while not seen or seen[-1][1]:
            message = await receive()
            seen.append((message["type"], message.get("more_body", False)))
        if messages[-1]["type"] == "http.disconnect" and len(seen) < len(messages):
            seen.append(((await receive())["type"], False))

    waiting = iter(messages)

    async def outer() -> dict[str, Any]:
        return next(waiting)

    await KeptPieces(inner, "/uploads/")({"type": "http", "path": path}, outer, None)  # type: ignore[arg-type]
    return seen


async def test_who_leaves_after_the_body_is_reported_as_ever() -> None:
    """Django then stops working for nobody."""
    whole, gone = {"type": "http.request", "body": b"x", "more_body": False}, {"type": "http.disconnect"}
    assert await received("/uploads/1", whole, gone) == [("http.request", False), ("http.disconnect", False)]


@pytest.mark.parametrize("path", ["/uploads/", "/api/models/", "/"])
async def test_elsewhere_a_cut_request_is_none(path: str) -> None:
    part, gone = {"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}
    assert await received(path, part, gone) == [("http.request", True), ("http.disconnect", False)]
