"""The main job: samples dropped, checked, searched, ranked live, kept, repeated, deleted."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.acts import (
    END_MS,
    board_rows,
    drop,
    final,
    held_worker,
    new_search_form,
    png_files,
    search_number,
    start,
    uploads_done,
    zip_of,
)
from tests.e2e.people import Desk, presses, ready, sign_in, wait_bound
from tests.system import System


def test_from_a_drop_on_the_first_page_to_a_verdict_in_three_presses(desk: Desk, system: System, seed_files: Path) -> None:
    page = desk.open(None)
    sign_in(page, "demo", desk.password("demo"))
    frames: list[dict[str, object]] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda text: frames.append(json.loads(text))))
    wait_bound(page)
    before = presses(page)

    drop(page, {"night-camera.npz": (seed_files / "night-camera.npz").read_bytes()})
    uploads_done(page, 1)
    page.get_by_role("button", name="Use these files").click()
    new_search_form(page)
    expect(page.get_by_role("heading", level=1)).to_contain_text("night-camera")
    expect(page.locator("#selection .count-line")).to_contain_text("11 candidates")
    assert page.locator("#id_label_key").input_value() != ""
    with held_worker(system):
        search = start(page)
        assert presses(page) - before <= 3
        rows = board_rows(page)
        assert len(rows) == 11
        assert not any(row[1] for row in rows), "a figure before anything has run"
        loads = page.evaluate("performance.timeOrigin")
        expect(page.locator("[data-board-connection]")).to_have_attribute("data-state", "live")
    final(page)
    assert page.evaluate("performance.timeOrigin") == loads, "the board was reloaded"
    updates = [frame for frame in frames if frame.get("type") in ("update", "snapshot")]
    assert len(updates) >= 2 and not updates[0]["final"] and updates[-1]["final"], "the rows came by the socket, in steps"
    expect(page.locator(".verdict-text")).to_be_visible()
    done = board_rows(page)
    assert {row[3] for row in done} <= {"finished", "eliminated"}
    assert all(row[2] == "360" for row in done if row[3] == "finished")
    assert sum(1 for row in done if row[1]) >= 5, "measured figures"
    expect(page.locator("[data-board-connection]")).to_have_text("final result")
    assert search == search_number(page)


def test_forty_pictures_are_one_sample_set_whose_guess_can_be_corrected(desk: Desk) -> None:
    page = desk.open("demo")
    ready(page, "/samples/new/")
    drop(page, png_files(40) | {"notes.xyz": b"not taken"})
    expect(page.locator(".file[data-state=refused]")).to_have_count(1)
    uploads_done(page, 40)
    page.get_by_label("Name").fill("Forty scans")
    page.get_by_role("button", name="Make the sample set").click()
    expect(page.get_by_role("heading", name="How the files were read")).to_be_visible(timeout=60_000)
    expect(page.locator(".stats")).to_contain_text("40 of 40")
    expect(page.locator(".stats")).to_contain_text("Images")
    assert page.locator(".samples-grid img").count() >= 8
    assert page.locator(".samples-grid img").first.evaluate("image => image.complete && image.naturalWidth > 0")

    page.get_by_role("heading", name="Read them differently").scroll_into_view_if_needed()
    form = page.locator("form[action$='/options/']")
    form.get_by_text("More reading options").click()
    form.get_by_label("At most").fill("25")
    form.get_by_role("button", name="Check again").click()
    expect(page.locator(".stats")).to_contain_text("25 of", timeout=60_000)


def test_a_zip_with_a_broken_picture_names_it_and_uses_the_rest(desk: Desk) -> None:
    page = desk.open("demo")
    ready(page, "/searches/new/")
    drop(page, {"scans.zip": zip_of(png_files(12) | {"broken.png": b"\x89PNG\r\n\x1a\nnothing"})})
    page.get_by_role("button", name="Use these files").click()  # pressed at once: it waits for the file
    new_search_form(page)
    page.get_by_role("link", name="look at them").click()
    expect(page.locator(".stats")).to_contain_text("12 of 13")
    expect(page.get_by_role("main")).to_contain_text("broken.png")


def test_texts_are_matched_with_text_models_and_the_set_goes_with_all_that_hangs_on_it(desk: Desk, seed_files: Path) -> None:
    page = desk.open("demo")
    ready(page, "/")
    drop(page, {"labels.csv": (seed_files / "short-labels.csv").read_bytes()})
    page.get_by_role("button", name="Use these files").click()
    new_search_form(page)
    expect(page.locator("#selection .count-line")).to_contain_text("6 candidates")
    page.get_by_label("Slowest answer").fill("0.000001")
    expect(page.locator("#selection .count-line")).to_contain_text("No candidate")
    page.get_by_role("link", name="Drop the latency limit").click()
    new_search_form(page)
    expect(page.locator("#selection .count-line")).to_contain_text("6 candidates")
    search = start(page)
    final(page)

    page.get_by_role("button", name="More").click()
    with page.expect_download() as got:
        page.get_by_role("link", name="Board as CSV").click()
    lines = list(csv.DictReader(io.StringIO(Path(got.value.path()).read_text())))
    assert len(lines) == 6
    page.get_by_role("button", name="More").click()
    with page.expect_download() as got:
        page.get_by_role("link", name="Board as JSON").click()
    document = json.loads(Path(got.value.path()).read_text())
    assert [row["model"] for row in document["candidates"]] == [line["model"] for line in lines]

    page.get_by_role("button", name="Report").click()
    expect(page.get_by_role("main")).to_contain_text("Frozen")
    report = page.url
    page.goto(f"/searches/{search}/")
    page.get_by_role("button", name="Re-run").click()
    page.wait_for_url(lambda url: f"/searches/{search}/" not in url)
    again = search_number(page)
    expect(page.get_by_role("main")).to_contain_text("re-run of")
    expect(page.locator("[data-board][data-final=true]")).to_have_count(1, timeout=END_MS)

    samples = page.request.get(f"/api/searches/{search}/").json()["sample_set"]
    ready(page, f"/samples/{samples}/")
    page.get_by_role("link", name="Delete").click()
    expect(page.locator(".kv")).to_contain_text("2")
    page.get_by_role("button", name="Delete everything listed").click()
    page.wait_for_url("**/samples/")
    expect(page.get_by_role("main").or_(page.locator("[data-toasts], .toasts"))).to_contain_text(["is deleted", "is deleted"][:1])
    for address in (f"/searches/{search}/", f"/searches/{again}/", f"/samples/{samples}/", report):
        assert page.request.get(address).status == 404
