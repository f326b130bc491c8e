"""The live board's socket. It sends what the browser lacks, then forwards changes; who looks is asked anew before each message."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import Any

from channels.auth import get_user
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError
from django.http import Http404

from search.board import BoardUpdate, board_update
from search.events import group_of

log = logging.getLogger(__name__)
PAINT_SECONDS = 0.5  # at most two paints a second reach a browser, and the last one when it comes
LOOK_SECONDS = 4.0  # a lost hint costs at most this long
PING_SECONDS = 15.0
NOT_FOUND = 4404


class BoardConsumer(AsyncWebsocketConsumer):
    """ws/searches/<id>/?after=<seq>: one message per paint, as search.board.BoardUpdate; {"type": "ping"} when idle."""

    async def connect(self) -> None:
        self.search_id = int(self.scope["url_route"]["kwargs"]["pk"])
        self.seq = self._after()
        self.header = ""
        self.changed, self.ended = asyncio.Event(), asyncio.Event()
        self.sender: asyncio.Task[None] | None = None
        # Subscribed before it reads: what happens in between is then read or told, never missed.
        await self.channel_layer.group_add(group_of(self.search_id), self.channel_name)
        try:
            first = await self._update()
        except Http404:
            await self.accept()  # a close code reaches the browser only on an accepted socket
            await self.close(NOT_FOUND)
            return
        except DatabaseError:
            await self.close()
            return
        await self.accept()
        self.sender = asyncio.create_task(self._send_changes(first))

    async def disconnect(self, code: int) -> None:
        if self.sender is not None:
            self.sender.cancel()
        await self.channel_layer.group_discard(group_of(self.search_id), self.channel_name)

    async def search_changed(self, message: dict[str, Any]) -> None:
        """Channel layer: some event was added."""
        if message["seq"] > self.seq:
            self.changed.set()
            if message.get("final"):
                self.ended.set()

    async def _send_changes(self, update: BoardUpdate) -> None:
        quiet = 0.0
        await self._send(update)
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), PAINT_SECONDS)
            try:
                await asyncio.wait_for(self.changed.wait(), LOOK_SECONDS)
            except TimeoutError:
                quiet += LOOK_SECONDS
            self.changed.clear()
            self.ended.clear()
            try:
                update = await self._update()
            except Http404:
                await self.close(NOT_FOUND)  # deleted, or this person may no longer look
                return
            except DatabaseError:
                log.warning("board of search %s: the database does not answer, trying again", self.search_id)
                continue
            # The header also tells of what is no event of the search: the queue before it, the worker, the time left.
            if update["seq"] > self.seq or update["header"] != self.header:
                quiet = 0.0
                await self._send(update)
            elif quiet >= PING_SECONDS:
                quiet = 0.0
                await self.send(text_data='{"type":"ping"}')

    async def _send(self, update: BoardUpdate) -> None:
        self.seq, self.header = update["seq"], update["header"]
        await self.send(text_data=json.dumps(update))

    async def _update(self) -> BoardUpdate:
        """What is new, for the person as of now. Raises Http404.

        A socket outlives what it was opened with: its person may have signed out, been deactivated, or left the team since.
        The session is therefore read again, and the search fetched through access.py, each time.
        """
        session = self.scope["session"]
        user = await get_user({"session": session.__class__(session.session_key)})
        update: BoardUpdate = await database_sync_to_async(board_update)(user, self.search_id, self.seq)
        return update

    def _after(self) -> int:
        query = self.scope.get("query_string", b"").decode("latin-1")
        for part in query.split("&"):
            name, _, value = part.partition("=")
            if name == "after" and value.isascii() and value.isdigit():
                return min(int(value), 2**62)
        return 0
