"""What people do in several tests: drop files, walk from a drop to a board, wait for its end."""

from __future__ import annotations

import base64
import io
import os
import re
import signal
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect

from tests.e2e.people import ready, wait_bound
from tests.system import System

DROP = """([zone, files]) => {
    const transfer = new DataTransfer();
    for (const [name, type, data] of files) {
        transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, {type, lastModified: 1700000000000}));
    }
    for (const kind of ['dragenter', 'dragover', 'drop']) {
        zone.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }
}"""
END_MS = 90_000


def drop(page: Page, files: Mapping[str, bytes], *, uploader: str = "[data-uploader]") -> None:
    """A drop event with these files on the uploader's zone."""
    zone = page.locator(f"{uploader} [data-dropzone]").element_handle()
    page.evaluate(DROP, [zone, [[name, "", base64.b64encode(data).decode()] for name, data in files.items()]])


def uploads_done(page: Page, count: int, *, uploader: str = "[data-uploader]") -> None:
    expect(page.locator(f"{uploader} .file[data-state=done]")).to_have_count(count, timeout=60_000)


def new_search_form(page: Page) -> None:
    """From a sample set under check to the form of the new search; the page goes on by itself."""
    expect(page.get_by_role("button", name="Start the search")).to_be_visible(timeout=60_000)
    wait_bound(page)


def start(page: Page) -> int:
    """Presses Start; returns the number of the search."""
    page.get_by_role("button", name="Start the search").click()
    page.wait_for_url(re.compile(r"/searches/\d+/"))
    page.mouse.move(0, 0)  # a pointer over the table would hold its order
    wait_bound(page)
    return search_number(page)


def search_number(page: Page) -> int:
    found = re.search(r"/searches/(\d+)/", page.url)
    assert found, page.url
    return int(found[1])


def final(page: Page) -> None:
    """Until the board says by itself that it is final."""
    expect(page.locator("[data-board][data-final=true]")).to_have_count(1, timeout=END_MS)


def match_demo(page: Page, name: str) -> int:
    """Starts a search of a demo sample set; returns its number, its board open."""
    ready(page, "/searches/new/")
    page.get_by_role("link", name=name).click()
    new_search_form(page)
    return start(page)


def board_rows(page: Page) -> list[list[str]]:
    """Model, shown figures and state of every row, in the order shown."""
    return page.locator("[data-board-table] tbody tr").evaluate_all(
        "rows => rows.map(row => ['model', 'predicted', 'samples', 'state', 'rank'].map("
        "column => row.querySelector(`[data-col=${column}]`).dataset.sortValue))"
    )


def board_of(page: Page, search: int) -> list[dict[str, object]]:
    """The rows that the API gives, less what depends on the moment."""
    rows = page.request.get(f"/api/searches/{search}/candidates/").json()
    keep = ("model", "state", "grade", "rank_from", "rank_to", "predicted_accuracy", "low", "high", "p_best", "samples")
    return [{key: row[key] for key in keep} for row in rows]


def png_files(count: int) -> dict[str, bytes]:
    """Different small grey PNGs."""
    draw = np.random.default_rng(7)
    files = {}
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (16, 16), dtype=np.uint8), "L").save(buffer, "PNG")
        files[f"scan-{number:02}.png"] = buffer.getvalue()
    return files


def zip_of(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@contextmanager
def held_worker(system: System) -> Iterator[None]:
    """Nothing is measured inside. Shorter than a lease, or the sweeper would give the job to another."""
    worker = system.processes()["worker-1"]
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)
