"""A channel layer over PostgreSQL LISTEN/NOTIFY through psycopg2, so that an embedded start needs no Redis.

Group membership is local to a process. `group_send` is one NOTIFY; each process that holds a socket LISTENs on one
connection and delivers locally. Payloads are small (ids and a sequence number): PostgreSQL caps them at 8,000 bytes.
A lost notification is harmless: consumers read rows by sequence number, and ask again on a timer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import psycopg2
from channels.layers import InMemoryChannelLayer
from django.db import connection

log = logging.getLogger(__name__)
CHANNEL = "modelshop_layer"
MAX_PAYLOAD = 7_900
RETRY_SECONDS = 0.5


def _connect() -> Any:
    """A connection of its own, in autocommit, to the database that Django uses (the test database in tests)."""
    params = connection.get_connection_params()
    keep = {key: value for key, value in params.items() if key in ("dbname", "user", "password", "host", "port", "sslmode", "sslrootcert")}
    raw = psycopg2.connect(**keep, connect_timeout=5)
    raw.autocommit = True
    return raw


class PgNotifyLayer(InMemoryChannelLayer):
    """Channel layer with groups across processes. Only group messages cross processes; that is all the product sends."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Lock | None = None
        self._listen: Any = None
        self._descriptor: int | None = None
        self._publish: Any = None
        self._lock = threading.Lock()

    async def group_add(self, group: str, channel: str) -> None:
        await self._start_listening()
        await super().group_add(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        payload = json.dumps([group, message], separators=(",", ":"))
        if len(payload.encode()) > MAX_PAYLOAD:
            raise ValueError(f"channel message of {len(payload)} bytes: send ids, not content")
        await asyncio.get_running_loop().run_in_executor(None, self._notify, payload)

    async def close(self) -> None:
        """Give both connections back; an open LISTEN would hold up the end of a test database."""
        self._stop_listening()
        with self._lock:
            if self._publish is not None:
                self._publish.close()
                self._publish = None

    async def flush(self) -> None:
        await super().flush()
        await self.close()

    def _notify(self, payload: str) -> None:
        """Two tries: the kept connection may have died with a restarted server."""
        with self._lock:
            for last in (False, True):
                try:
                    if self._publish is None or self._publish.closed:
                        self._publish = _connect()
                    with self._publish.cursor() as cursor:
                        cursor.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))
                    return
                except psycopg2.Error:
                    if self._publish is not None:
                        self._publish.close()
                    self._publish = None
                    if last:
                        raise

    async def _start_listening(self) -> None:
        """One connection, however many sockets ask at once: a second one would stay readable with nobody to read it."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._starting is None:
            self._stop_listening()
            self._loop, self._starting = loop, asyncio.Lock()
        async with self._starting:
            if self._listen is None or self._listen.closed:
                await self._listen_on(loop)

    async def _listen_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._stop_listening()
        try:
            self._listen = await loop.run_in_executor(None, self._open_listener)
        except psycopg2.Error:
            log.warning("cannot LISTEN yet, trying again")
            loop.call_later(RETRY_SECONDS, self._reconnect)
            return
        self._descriptor = self._listen.fileno()
        loop.add_reader(self._descriptor, self._readable)

    @staticmethod
    def _open_listener() -> Any:
        raw = _connect()
        with raw.cursor() as cursor:
            cursor.execute(f'LISTEN "{CHANNEL}"')
        return raw

    def _stop_listening(self) -> None:
        if self._descriptor is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)  # by number: a broken connection no longer tells its own
        if self._listen is not None:
            self._listen.close()
        self._descriptor = self._listen = None

    def _reconnect(self) -> None:
        asyncio.ensure_future(self._start_listening())

    def _readable(self) -> None:
        try:
            self._listen.poll()
        except psycopg2.Error:
            log.warning("the LISTEN connection broke, connecting again")
            self._stop_listening()
            if self._loop is not None:
                self._loop.call_later(RETRY_SECONDS, self._reconnect)
            return
        while self._listen.notifies:
            group, message = json.loads(self._listen.notifies.pop(0).payload)
            asyncio.ensure_future(InMemoryChannelLayer.group_send(self, group, message))
