"""Something is killed in the middle of a search: the final board is that of an undisturbed run, and nothing is scored twice."""

from __future__ import annotations

import json
import signal
import socket
import time
from typing import Any

import pytest

from tests.faults.instance import Instance, Screen
from tests.system import wait_until

pytestmark = pytest.mark.slow
SHARE = 0.25


def assert_nothing_lost(instance: Instance, search: int, undisturbed: dict[str, Any], screen: Screen) -> None:
    """The rows, the events and what the browser shows at the end."""
    instance.watch(search, screen)
    board = instance.board(search)
    for mine, other in zip(board["rows"], undisturbed["rows"], strict=True):
        assert mine == other
    assert board == undisturbed
    instance.assert_scored_once(search)
    instance.assert_told_once(search)
    fresh = Screen()
    instance.watch(search, fresh)
    assert screen.shown == fresh.shown


def until_more(instance: Instance, search: int, name: str, since: float) -> None:
    """Note how long it took until the search got on again."""
    before = instance.progress(search)
    wait_until(lambda: instance.progress(search) > before or instance.state(search) == "finished", 60, f"the search to go on ({name})")
    instance.figures[name] = round(time.monotonic() - since, 1)


def test_worker_killed(instance: Instance, undisturbed: dict[str, Any]) -> None:
    search = instance.search()
    screen = instance.watch_until(search, SHARE)
    since = time.monotonic()
    instance.system.kill("worker-1")
    assert instance.state(search) == "running"
    until_more(instance, search, "worker killed", since)
    assert_nothing_lost(instance, search, undisturbed, screen)
    assert instance.job(search)[:2] == ("succeeded", 2)


def test_web_killed(instance: Instance, undisturbed: dict[str, Any]) -> None:
    search = instance.search()
    screen = instance.watch_until(search, SHARE)
    since = time.monotonic()
    instance.system.kill("web")
    instance.api("GET", f"/api/searches/{search}/")
    instance.figures["web killed"] = round(time.monotonic() - since, 1)
    assert_nothing_lost(instance, search, undisturbed, screen)
    assert instance.job(search)[:2] == ("succeeded", 1), "the worker does not care whether anybody looks"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "restarted"])
def test_postgres(instance: Instance, undisturbed: dict[str, Any], how: signal.Signals) -> None:
    search = instance.search()
    screen = instance.watch_until(search, SHARE)
    since = time.monotonic()
    instance.system.kill("postgres", how)
    until_more(instance, search, f"PostgreSQL {how.name}", since)
    assert_nothing_lost(instance, search, undisturbed, screen)


def test_connection_cut(instance: Instance, undisturbed: dict[str, Any]) -> None:
    """The browser's connection goes without a goodbye; it polls for a while and then has a socket again."""
    search = instance.search()
    screen = instance.watch_until(search, SHARE / 2)
    with instance.socket(search, screen.seq) as live:
        screen.apply(json.loads(live.recv(timeout=10)))
        live.socket.shutdown(socket.SHUT_RDWR)
    headers = {"Cookie": f"sessionid={instance.facts['session']}"}
    with instance.system.client("") as browser:
        browser.headers.pop("Authorization")
        answer = browser.get(f"/searches/{search}/updates/", params={"after": screen.seq}, headers=headers)
        assert answer.status_code == 200
        screen.apply(answer.json())
    assert_nothing_lost(instance, search, undisturbed, screen)
    assert instance.job(search)[:2] == ("succeeded", 1)


def test_stop_keeps_the_partial_board(instance: Instance, undisturbed: dict[str, Any]) -> None:
    search = instance.search()
    screen = instance.watch_until(search, SHARE)
    since = time.monotonic()
    instance.api("POST", f"/api/searches/{search}/stop/")
    assert instance.ended(search) == "stopped"
    instance.figures["stop"] = round(time.monotonic() - since, 1)
    instance.watch(search, screen)
    board = instance.board(search)
    assert 0 < board["samples_done"] < board["n"]
    assert {row["state"] for row in board["rows"]} <= {"finished", "stopped"}
    assert sum(row["predicted"] is not None for row in board["rows"]) > len(board["rows"]) / 2, "what was measured is shown"
    assert instance.job(search)[0] == "cancelled"
    again = int(instance.api("POST", f"/api/searches/{search}/rerun/")["id"])
    assert instance.ended(again) == "finished"
    assert instance.board(again) == undisturbed


def test_stop_of_a_queued_search(instance: Instance) -> None:
    """The only worker is busy: a search that waits ends at once when stopped, and its message, when it comes, does nothing."""
    busy, waiting = instance.search(), instance.search("small_set")
    instance.watch_until(busy, 0.02)
    assert instance.job(waiting)[0] == "queued"
    instance.api("POST", f"/api/searches/{waiting}/stop/")
    assert (instance.state(waiting), instance.job(waiting)[0]) == ("stopped", "cancelled")
    assert instance.state(busy) == "running"
    later = instance.search("small_set")
    assert instance.ended(later) == "finished"
    assert (instance.state(waiting), instance.progress(waiting)) == ("stopped", 0)


def test_a_job_that_kills_its_worker_every_time_ends_visibly(instance: Instance) -> None:
    search = instance.search()
    for attempt in (1, 2, 3):
        wait_until(lambda attempt=attempt: instance.job(search)[:2] == ("running", attempt), 60, f"attempt {attempt}")  # type: ignore[misc]
        instance.system.kill("worker-1")
    assert instance.ended(search) == "failed"
    assert instance.job(search)[:2] == ("errored", 3)
    title, fix = instance.system.rows("SELECT error_title, error_fix FROM search_search WHERE id = %s", search)[0]
    assert "worker died" in title and fix
    assert {state for (state,) in instance.system.rows("SELECT state FROM search_candidate WHERE search_id = %s", search)} <= {
        "stopped",
        "finished",
    }
    last = instance.system.one("SELECT kind FROM search_searchevent WHERE search_id = %s ORDER BY seq DESC LIMIT 1", search)
    assert last == "failed"
    small = instance.search("small_set")
    assert instance.ended(small) == "finished", "the worker goes on with other work"
