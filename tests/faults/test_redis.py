"""Broker and channel layer on Redis, as a team runs it: a search, a killed worker, an idle socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.instance import Instance, Screen
from tests.realtime.servers import redis

pytestmark = pytest.mark.slow
IDLE = 7.0  # a core layer on a newer client lost every idle socket after 5.1 s


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("redis")
    with redis(folder) as url:
        made = Instance(
            folder / "data", prepare="main(samples=3000, variants=1)", BROKER_URL=f"{url}/0", CHANNEL_URL=f"{url}/1",
            JOB_LEASE_SECONDS="3", OMP_NUM_THREADS="1",
        )  # fmt: skip
        yield made
        made.close()


def test_a_worker_is_killed_in_mid_search(team: Instance) -> None:
    """Stock Redis would hand the message on after an hour; the lease does it in seconds."""
    team.system.settle()
    expected = team.search()
    assert team.ended(expected) == "finished"
    search = team.search()
    screen = team.watch_until(search, 0.2)
    team.system.kill("worker-1")
    team.watch(search, screen)
    assert team.board(search) == team.board(expected)
    team.assert_scored_once(search)
    fresh = team.watch(search, Screen())
    assert screen.shown == fresh.shown


def test_an_idle_socket_stays(team: Instance) -> None:
    search = team.search("small_set")
    assert team.ended(search) == "finished"
    with team.socket(search) as socket:
        first = json.loads(socket.recv(timeout=10))
        with pytest.raises(TimeoutError):
            socket.recv(timeout=IDLE)
        team.code(
            "from django.db import transaction; from search.events import event_add; from search.models import Search\n"
            f"with transaction.atomic(): event_add(Search.objects.get(pk={search}), 'measured', {{}})"
        )
        assert json.loads(socket.recv(timeout=20))["seq"] == first["seq"] + 1


def test_the_queue_is_in_redis(team: Instance) -> None:
    assert not list(Path(team.data / "queue").glob("*.msg"))
