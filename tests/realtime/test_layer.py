"""The channel layer over PostgreSQL: delivery across processes, broken connections, limits, and nothing left open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from channels.db import database_sync_to_async as in_database
from channels.layers import get_channel_layer
from django.db import connection

from config.channels import MAX_PAYLOAD, PgNotifyLayer
from search.events import group_of
from search.models import Search, SearchEvent

pytestmark = pytest.mark.django_db(transaction=True)
HERE = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
LISTENERS = f"SELECT pid {HERE} AND query LIKE 'LISTEN%%'"
SENDERS = f"SELECT pid {HERE} AND query LIKE 'SELECT pg_notify(%%'"


@in_database
def asked(query: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return [row[0] for row in cursor.fetchall()]


async def connections() -> int:
    return len(await asked(LISTENERS)) + len(await asked(SENDERS))


async def until(look: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := await look()):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)
    return found


@pytest.fixture
async def layers() -> AsyncIterator[tuple[PgNotifyLayer, PgNotifyLayer]]:
    """What two web processes hold; nobody else listens."""
    await get_channel_layer().close()
    pair = PgNotifyLayer(), PgNotifyLayer()
    yield pair
    for layer in pair:
        await layer.close()


async def test_every_process_hears_it(layers: tuple[PgNotifyLayer, PgNotifyLayer]) -> None:
    for place, layer in enumerate(layers):
        await layer.group_add("board", f"socket{place}")
    await layers[0].group_send("board", {"type": "search.changed", "seq": 7})
    for place, layer in enumerate(layers):
        message = await asyncio.wait_for(layer.receive(f"socket{place}"), 10)
        assert message["seq"] == 7


async def test_only_the_group_hears_it(layers: tuple[PgNotifyLayer, PgNotifyLayer]) -> None:
    layer = layers[0]
    await layer.group_add("mine", "a")
    await layer.group_add("other", "b")
    await layer.group_send("other", {"n": 1})
    await layer.group_send("mine", {"n": 2})
    assert (await asyncio.wait_for(layer.receive("a"), 10))["n"] == 2


async def test_many_sockets_at_once_share_one_connection(layers: tuple[PgNotifyLayer, PgNotifyLayer]) -> None:
    """As after a restart of the web process. A second connection would stay readable for ever, with nobody to read it."""
    layer = layers[0]
    before = len(await asked(LISTENERS))
    await asyncio.gather(*(layer.group_add("board", f"socket{place}") for place in range(12)))
    assert len(await asked(LISTENERS)) == before + 1
    await layer.group_send("board", {"n": 1})
    for place in range(12):
        assert (await asyncio.wait_for(layer.receive(f"socket{place}"), 10))["n"] == 1


async def test_a_broken_connection_is_replaced(layers: tuple[PgNotifyLayer, PgNotifyLayer]) -> None:
    layer = layers[0]
    await layer.group_add("board", "a")
    (pid,) = await asked(LISTENERS)
    await asked(f"SELECT pg_terminate_backend({pid})")

    async def another() -> bool:
        return [found for found in await asked(LISTENERS) if found != pid] != []

    await until(another)
    await layer.group_send("board", {"n": 1})
    assert (await asyncio.wait_for(layer.receive("a"), 10))["n"] == 1


async def test_sending_survives_a_broken_connection(layers: tuple[PgNotifyLayer, PgNotifyLayer]) -> None:
    layer, sender = layers
    await layer.group_add("board", "a")
    await sender.group_send("board", {"n": 1})
    (pid,) = await asked(SENDERS)
    await asked(f"SELECT pg_terminate_backend({pid})")
    await sender.group_send("board", {"n": 2})
    assert [(await asyncio.wait_for(layer.receive("a"), 10))["n"] for _ in range(2)] == [1, 2]


async def test_content_does_not_fit(layers: tuple[PgNotifyLayer, PgNotifyLayer]) -> None:
    layer = layers[0]
    await layer.group_add("board", "a")
    with pytest.raises(ValueError, match="ids, not content"):
        await layer.group_send("board", {"text": "ä" * (MAX_PAYLOAD // 2)})
    await layer.group_send("board", {"text": "x" * (MAX_PAYLOAD - 100)})
    assert len((await asyncio.wait_for(layer.receive("a"), 10))["text"]) == MAX_PAYLOAD - 100


def test_hints_fit_whatever_their_numbers() -> None:
    biggest = max(field.MAX_BIGINT for field in (Search._meta.get_field("last_seq"), SearchEvent._meta.get_field("seq")))
    assert len(repr([group_of(biggest), {"type": "search.changed", "search": biggest, "seq": biggest}])) < MAX_PAYLOAD / 10


async def test_nothing_stays_open() -> None:
    """An open LISTEN would hold up the end of a test database, and count against the server's connections."""
    await get_channel_layer().close()
    before = await connections()
    layer = PgNotifyLayer()
    await layer.group_add("board", "a")
    await layer.group_send("board", {"n": 1})
    assert await connections() == before + 2
    await layer.close()

    async def closed() -> bool:
        return await connections() == before

    await until(closed)


async def test_another_loop_gets_its_own_connection() -> None:
    """A worker's `async_to_sync` runs each send in a loop of its own; a layer that listened in another must not hang."""
    layer = PgNotifyLayer()

    def elsewhere() -> None:
        async def use() -> None:
            await layer.group_add("board", "there")

        asyncio.run(use())

    await asyncio.get_running_loop().run_in_executor(None, elsewhere)
    await layer.group_add("board", "here")
    await layer.group_send("board", {"n": 1})
    assert (await asyncio.wait_for(layer.receive("here"), 10))["n"] == 1
    await layer.close()
