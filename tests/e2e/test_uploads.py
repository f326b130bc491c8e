"""Uploads that are cut: by the network, and by the death of the web process."""

from __future__ import annotations

import io
import re
from itertools import pairwise

import numpy as np
from playwright.sync_api import Page, Route, expect

from tests.e2e.acts import drop, new_search_form
from tests.e2e.people import Desk, ready
from tests.system import System

CHUNK = 8 * 1024 * 1024


def large_samples() -> bytes:
    """Pictures in an .npz of more than two chunks: what is cut is then in the middle."""
    draw = np.random.default_rng(3)
    buffer = io.BytesIO()
    np.savez(buffer, x=draw.integers(0, 256, (1200, 128, 128), dtype=np.uint8))
    assert buffer.tell() > 2 * CHUNK
    return buffer.getvalue()


def stop_after_the_first_chunk(page: Page) -> list[str]:
    """Every later chunk fails until the list is emptied; it collects what was stopped."""
    stopped: list[str] = ["armed"]

    def cut(route: Route) -> None:
        later = route.request.method == "PATCH" and route.request.headers.get("upload-offset") != "0"
        if stopped and later:
            stopped.append(route.request.url)
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route(re.compile(r"/uploads/."), cut)
    return stopped


def offset_of(page: Page, upload: str) -> int:
    answer = page.request.head(upload, headers={"Tus-Resumable": "1.0.0"})
    return int(answer.headers["upload-offset"])


def test_an_upload_goes_on_where_the_line_was_cut(desk: Desk) -> None:
    page = desk.open("demo", expected=("ERR_CONNECTION_RESET",))
    ready(page, "/searches/new/")
    stopped = stop_after_the_first_chunk(page)
    drop(page, {"large.npz": large_samples()})
    page.get_by_role("button", name="Use these files").click()
    page.wait_for_function("() => document.querySelector('.file progress')?.value > 0")
    while len(stopped) < 2:
        page.wait_for_timeout(100)
    upload = stopped[-1]
    assert offset_of(page, upload) == CHUNK
    sent: list[int] = []
    page.on("request", lambda request: sent.append(int(request.headers["upload-offset"])) if request.method == "PATCH" else None)
    stopped.clear()
    new_search_form(page)
    assert sent[0] == CHUNK and sent == sorted(set(sent)), "what had arrived was not sent again"
    pieces = [later - earlier for earlier, later in pairwise(sent)]
    assert pieces[0] < CHUNK and pieces == sorted(pieces), "smaller after the cut, and growing again"
    expect(page.get_by_role("heading", level=1)).to_contain_text("large")


def test_an_upload_outlives_the_web_process(desk: Desk, system: System) -> None:
    page = desk.open("demo", expected=("ERR_CONNECTION_RESET", "ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_SOCKET_NOT_CONNECTED"))
    ready(page, "/searches/new/")
    stopped = stop_after_the_first_chunk(page)
    drop(page, {"large.npz": large_samples()})
    while len(stopped) < 2:
        page.wait_for_timeout(100)
    upload = stopped[-1]
    system.kill("web")
    stopped.clear()
    expect(page.locator(".file[data-state=done], .file[data-state=failed]")).to_have_count(1, timeout=60_000)
    if page.locator(".file[data-state=failed]").count():
        page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator(".file[data-state=done]")).to_have_count(1, timeout=60_000)
    assert offset_of(page, upload) == len(large_samples())
    page.get_by_role("button", name="Use these files").click()
    new_search_form(page)
