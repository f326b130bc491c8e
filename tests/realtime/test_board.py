"""The board's socket on the real ASGI application, channel layer and PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async as in_database
from django.contrib.sessions.models import Session
from django.db.models import F
from django.utils import timezone

from accounts.models import Team, User
from accounts.services import membership_set
from jobs.models import Job, JobState
from search import consumers
from search.board import board_update
from search.dispatch import SEARCH_RUN
from search.events import event_add
from search.models import Candidate, Search, SearchState
from search.services import search_share
from tests.realtime.conftest import NEVER
from tests.realtime.sockets import Socket, cookie, opened

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("search")]


def rung(search: Search, *places: int, samples: int = 32) -> int:
    """Some rows change, with the event that tells of it."""
    ids = list(search.candidates.filter(position__in=places).values_list("pk", flat=True))
    Candidate.objects.filter(pk__in=ids).update(samples_done=samples, predicted=0.5 + samples / 1000)
    return event_add(search, "rung", {"samples": samples, "of": search.n_samples}, rows=ids, fields={"samples_done": samples})


def unheard(search: Search, place: int) -> None:
    """An event whose hint was lost."""
    Search.objects.filter(pk=search.pk).update(last_seq=F("last_seq") + 1)
    search.refresh_from_db()
    search.candidates.filter(position=place).update(updated_seq=search.last_seq)


async def test_first_a_snapshot_then_what_changed(search: Search, alice: User, only_hints: None) -> None:
    headers = await in_database(cookie)(alice)
    async with opened(headers, search.pk) as socket:
        first = await socket.message()
        assert (first["type"], first["seq"], first["final"], len(first["rows"])) == ("snapshot", 1, False, 4)
        assert set(first["rows"]) == set(first["order"])
        await in_database(rung)(search, 2)
        update = await socket.message()
        assert (update["type"], update["seq"]) == ("update", 2)
        assert list(update["rows"]) == [first["order"][2]] and update["order"] == first["order"]
        await in_database(event_add)(search, "finished", {"verdict": {}}, fields={"state": SearchState.FINISHED})
        assert (await socket.message())["final"] is True


async def test_whoever_has_seen_an_event_gets_what_came_after(search: Search, alice: User) -> None:
    headers = await in_database(cookie)(alice)
    await in_database(rung)(search, 0)
    await in_database(rung)(search, 1)
    async with opened(headers, search.pk, after=2) as socket:
        update = await socket.message()
        assert (update["type"], update["seq"], len(update["rows"])) == ("update", 3, 1)


async def test_what_is_no_event_comes_with_the_header_alone(search: Search, alice: User, looks_often: None) -> None:
    """Who works on it and how long the queue is: nobody adds an event to a search for that."""
    async with opened(await in_database(cookie)(alice), search.pk) as socket:
        first = await socket.message()
        lease = timezone.now() + timedelta(hours=1)
        await in_database(Job.objects.create)(
            kind=SEARCH_RUN, subject_id=search.pk, label="x", state=JobState.RUNNING, worker="gpu-7", lease_until=lease
        )
        update = await socket.message()
        assert "gpu-7" in update["header"] and "gpu-7" not in first["header"]
        assert (update["type"], update["seq"], update["rows"]) == ("update", first["seq"], {})


@pytest.mark.parametrize("after", ["99", "-1", "x", str(10**30), "%00"])
async def test_a_number_from_nowhere_gives_a_snapshot(search: Search, alice: User, after: str) -> None:
    async with opened(await in_database(cookie)(alice), search.pk, after) as socket:
        assert (await socket.message())["type"] == "snapshot"


async def test_at_most_two_paints_a_second(search: Search, alice: User, only_hints: None) -> None:
    headers = await in_database(cookie)(alice)
    async with opened(headers, search.pk) as socket:
        await socket.message()
        paints, last = [time.monotonic()], 0
        done = asyncio.create_task(_many(search, 30))
        while last < 31:
            last = (await socket.message())["seq"]
            paints.append(time.monotonic())
        await done
    gaps = [later - earlier for earlier, later in zip(paints, paints[1:], strict=False)]
    assert min(gaps[1:]) >= consumers.PAINT_SECONDS * 0.9, gaps
    assert len(paints) < 30, "several events share a paint"


async def test_the_last_paint_waits_for_no_pause(search: Search, alice: User, only_hints: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "PAINT_SECONDS", NEVER)
    async with opened(await in_database(cookie)(alice), search.pk) as socket:
        await socket.message()
        await in_database(rung)(search, 2)
        await in_database(event_add)(search, "finished", {"verdict": {}}, fields={"state": SearchState.FINISHED})
        update = await socket.message()
        assert (update["final"], update["seq"]) == (True, 3)


async def _many(search: Search, count: int) -> None:
    for number in range(count):
        await in_database(rung)(search, number % 4, samples=number)
        await asyncio.sleep(0.03)


@pytest.mark.parametrize("shared", [False, True], ids=["not shared", "shared"])
@pytest.mark.parametrize("who", ["owner", "team mate", "outsider", "anonymous"])
async def test_who_may_look(search: Search, people: dict[str, Any], team: Team, who: str, shared: bool) -> None:
    if shared:
        await in_database(search_share)(search=search, team=team, actor=people["owner"])
    user = people[who]
    headers = await in_database(cookie)(user if user.is_authenticated else None)
    allowed = who == "owner" or (who == "team mate" and shared)
    async with opened(headers, search.pk) as socket:
        if allowed:
            assert (await socket.message())["type"] == "snapshot"
        else:
            assert await socket.close_code() == 4404


async def test_a_search_that_is_not_there(search: Search, alice: User) -> None:
    async with opened(await in_database(cookie)(alice), search.pk + 1) as socket:
        assert await socket.close_code() == 4404


async def test_another_site_gets_no_socket(search: Search, alice: User) -> None:
    headers = [(name, b"https://elsewhere.example" if name == b"origin" else value) for name, value in await in_database(cookie)(alice)]
    assert await Socket(headers, search.pk).open() is False


def deactivated(search: Search, user: User, team: Team) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def signed_out(search: Search, user: User, team: Team) -> None:
    Session.objects.all().delete()


def new_password(search: Search, user: User, team: Team) -> None:
    user.set_password("another horse, another battery")
    user.save()


def out_of_the_team(search: Search, user: User, team: Team) -> None:
    membership_set(team=team, user=user, role=None, actor=search.owner)


def share_taken_back(search: Search, user: User, team: Team) -> None:
    search_share(search=search, team=None, actor=search.owner)


OF_ANYBODY, OF_A_MEMBER = [deactivated, signed_out, new_password], [out_of_the_team, share_taken_back]
LOSSES = [*(("owner", loss) for loss in OF_ANYBODY), *(("team mate", loss) for loss in OF_ANYBODY + OF_A_MEMBER)]


@pytest.mark.parametrize("idle", [False, True], ids=["at the next event", "in silence"])
@pytest.mark.parametrize(("who", "loss"), LOSSES, ids=[f"{who} {loss.__name__}" for who, loss in LOSSES])
async def test_whoever_may_look_no_more_gets_nothing_more(
    search: Search, people: dict[str, Any], team: Team, who: str, loss: Callable[..., None], idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next message of an open socket is its end, whether something happened on the board or not."""
    monkeypatch.setattr(consumers, "LOOK_SECONDS", 0.3 if idle else NEVER)
    await in_database(search_share)(search=search, team=team, actor=people["owner"])
    async with opened(await in_database(cookie)(people[who]), search.pk) as socket:
        assert (await socket.message())["type"] == "snapshot"
        await in_database(loss)(search, people[who], team)
        if not idle:
            await in_database(rung)(search, 1)
        assert await socket.close_code() == 4404


async def test_deleting_the_search_closes_the_socket(search: Search, alice: User, looks_often: None) -> None:
    async with opened(await in_database(cookie)(alice), search.pk) as socket:
        await socket.message()
        await in_database(search.delete)()
        assert await socket.close_code() == 4404


async def test_a_lost_hint_is_made_up_for(search: Search, alice: User, looks_often: None) -> None:
    async with opened(await in_database(cookie)(alice), search.pk) as socket:
        first = await socket.message()
        await in_database(unheard)(search, 3)
        update = await socket.message()
        assert list(update["rows"]) == [first["order"][3]]


async def test_what_happens_while_a_socket_opens_is_told(
    search: Search, alice: User, only_hints: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event between the first look and the first wait: the hint must find the socket already subscribed."""
    headers, real, late = await in_database(cookie)(alice), consumers.board_update, []

    def then_something_happens(*args: Any) -> Any:
        found = real(*args)
        if not late:
            late.append(rung(search, 1))
        return found

    monkeypatch.setattr(consumers, "board_update", then_something_happens)
    async with opened(headers, search.pk) as socket:
        assert (await socket.message())["seq"] == 1
        assert (await socket.message())["seq"] == 2


async def test_an_idle_socket_is_pinged(search: Search, alice: User, looks_often: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "PING_SECONDS", 0.5)
    async with opened(await in_database(cookie)(alice), search.pk) as socket:
        await socket.message()
        assert await socket.message() == {"type": "ping"}


def test_polling_says_the_same(search: Search, alice: User, client: Any) -> None:
    client.force_login(alice)
    rung(search, 1)
    assert client.get(f"/searches/{search.pk}/updates/?after=1").json() == dict(board_update(alice, search.pk, 1))
