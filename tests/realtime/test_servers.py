"""Real sockets to real web processes: idle ones stay, and every process tells its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection
from websockets.sync.client import ClientConnection, connect

from accounts.models import User
from search.events import event_add
from search.models import Search
from tests.realtime.servers import web
from tests.realtime.sockets import cookie

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
IDLE = 7.0


@pytest.fixture
def two() -> Iterator[list[str]]:
    """Two web processes on the test database."""
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path="/" + connection.settings_dict["NAME"]).geturl()
    with web({"DATABASE_URL": url}) as first, web({"DATABASE_URL": url}) as second:
        yield [first, second]


def joined(stack: ExitStack, url: str, search: Search, user: User) -> ClientConnection:
    headers = {name.decode(): value.decode() for name, value in cookie(user) if name == b"cookie"}
    address = f"{url.replace('http', 'ws')}/ws/searches/{search.pk}/"
    return stack.enter_context(connect(address, additional_headers=headers, origin=url, ping_interval=None))  # type: ignore[arg-type]


def message(socket: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(socket.recv(timeout=20)))


def test_idle_sockets_on_two_processes_are_told(two: list[str], search: Search, alice: User) -> None:
    with ExitStack() as stack:
        sockets = [joined(stack, url, search, alice) for url in two]
        assert [message(socket)["type"] for socket in sockets] == ["snapshot", "snapshot"]
        with pytest.raises(TimeoutError):
            sockets[0].recv(timeout=IDLE)
        event_add(search, "rung", {"samples": 1, "of": 2}, rows=[search.candidates.first().pk])
        for socket in sockets:
            update = message(socket)
            assert (update["type"], update["seq"], len(update["rows"])) == ("update", 2, 1)
