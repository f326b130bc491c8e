"""The live board under a person's hands and under a bad connection. The worker is held still where a moment must last."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.e2e.acts import board_of, board_rows, final, held_worker, match_demo
from tests.e2e.people import Desk, ready
from tests.system import System, wait_until

SET = "Digits from a night camera"
# The number of a search that has ended and its board.
Ended = tuple[int, list[dict[str, object]]]


def ended(page: Page, search: int) -> None:
    """Until the server says so, whatever the page shows."""
    wait_until(lambda: page.request.get(f"/api/searches/{search}/").json()["finished"], 90, "the end of the search", every=0.3)


class Line:
    """The board's socket, which a test can cut and mend."""

    def __init__(self, page: Page, *, up: bool = True) -> None:
        self.up = up
        self.open: list[WebSocketRoute] = []
        page.route_web_socket(re.compile("/ws/"), self.connect)

    def connect(self, socket: WebSocketRoute) -> None:
        if not self.up:
            socket.close(code=4000)
            return
        socket.connect_to_server()
        self.open.append(socket)

    def cut(self) -> None:
        self.up = False
        for socket in self.open:
            socket.close(code=4000)
        self.open.clear()


@pytest.fixture(scope="package")
def undisturbed(chromium: object, system: System, cookies: dict[str, list[dict[str, object]]]) -> Ended:
    """A search that nothing happens to, on the grounds that later ones have."""
    system.settle()
    desk = Desk(chromium, system, cookies)  # type: ignore[arg-type]
    page = desk.open("demo")
    search = match_demo(page, SET)
    final(page)
    rows = board_of(page, search)
    desk.close()
    return search, rows


def assert_same_end(page: Page, search: int, undisturbed: Ended) -> None:
    assert board_of(page, search) == undisturbed[1]
    whole = page.context.new_page()
    ready(whole, f"/searches/{search}/")
    expected = board_rows(whole)
    # Places change at most every two seconds.
    wait_until(lambda: board_rows(page) == expected, 10, "what came bit by bit to be the board as a whole", every=0.3)


def test_a_board_that_was_cut_off_ends_the_same(desk: Desk, system: System, undisturbed: Ended) -> None:
    page = desk.open("demo", expected=("WebSocket", "ERR_INTERNET_DISCONNECTED", "Failed to load resource"))
    line = Line(page)
    with held_worker(system):
        search = match_demo(page, SET)
        expect(page.locator("[data-board-connection]")).to_have_attribute("data-state", "live")
        line.cut()
        page.context.set_offline(True)
        expect(page.locator("[data-board-connection]")).not_to_have_attribute("data-state", "live")
    wait_until(
        lambda: "True" in system.python(f"from search.models import Search; print(Search.objects.get(pk={search}).finished is not None)"),
        90,
        "the end",
    )
    assert page.locator("tr[data-state=finished]").count() == 0, "nothing came through a cut line"
    line.up = True
    page.context.set_offline(False)
    final(page)
    assert_same_end(page, search, undisturbed)


def test_where_sockets_are_blocked_polling_ends_the_same(desk: Desk, undisturbed: Ended) -> None:
    page = desk.open("demo", expected=("WebSocket",))
    Line(page, up=False)
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url) if "/updates/" in request.url else None)
    search = match_demo(page, SET)
    final(page)
    assert polls
    assert_same_end(page, search, undisturbed)


def test_paused_updates_wait_and_a_stopped_search_keeps_what_it_has(desk: Desk, system: System) -> None:
    page = desk.open("demo")
    with held_worker(system):
        search = match_demo(page, SET)
        expect(page.locator("[data-board-connection]")).to_have_attribute("data-state", "live")
        page.locator("h1").click()
        page.keyboard.press("Space")
        expect(page.locator("[data-board-connection]")).to_have_attribute("data-state", "paused")
        before = board_rows(page)
    ended(page, search)
    assert board_rows(page) == before, "paused means paused"
    page.get_by_role("button", name="Resume updates").click()
    final(page)
    assert board_rows(page) != before

    with held_worker(system):
        stopped = match_demo(page, SET)
        page.get_by_role("button", name="Stop search").click()
        page.get_by_role("alertdialog").get_by_role("button", name="Stop", exact=True).click()
        ended(page, stopped)  # at once: no worker has taken it
        expect(page.locator(".board-facts, .board-head").first).to_contain_text(re.compile("stop", re.I))
    assert page.request.get(f"/api/searches/{stopped}/").json()["state"] == "stopped"
    final(page)


def test_sort_filter_columns_and_drawer_stand_in_the_address(desk: Desk, undisturbed: Ended) -> None:
    page = desk.open("demo")
    search, _ = undisturbed
    ready(page, f"/searches/{search}/")
    names = [row[0] for row in board_rows(page)]

    page.get_by_role("columnheader", name="Latency").get_by_role("button").click()
    expect(page.locator("th[aria-sort]")).to_have_count(1)
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")
    values = page.locator("tbody td[data-col=latency]").evaluate_all("cells => cells.map(cell => Number(cell.dataset.sortValue))")
    assert values == sorted(values, reverse=True)
    page.get_by_placeholder("Filter").fill("MLP")
    visible = page.locator("[data-board-table] tbody tr:visible")
    expect(visible).to_have_count(len([name for name in names if "MLP" in name]))
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("checkbox", name="Licence").check()
    page.keyboard.press("Escape")
    expect(page.get_by_role("columnheader", name="Licence")).to_be_visible()
    for part in ("sort=-latency", "filter=MLP", "cols="):
        assert part in page.url
    shared = desk.open("demo")
    ready(shared, page.url)
    expect(shared.locator("[data-board-table] tbody tr:visible")).to_have_count(visible.count())
    expect(shared.get_by_role("columnheader", name="Licence")).to_be_visible()
    expect(shared.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")

    ready(page, f"/searches/{search}/")
    page.keyboard.press("j")
    page.keyboard.press("j")
    second = page.evaluate("document.activeElement.dataset.id")
    page.keyboard.press("Enter")
    drawer = page.locator("[data-drawer]")
    expect(drawer.get_by_role("heading", name="Why this score")).to_be_visible()
    assert f"row={second}" in page.url
    deep = desk.open("demo")
    ready(deep, page.url)
    expect(deep.locator("[data-drawer]").get_by_role("heading", name="Why this score")).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    assert "row=" not in page.url
