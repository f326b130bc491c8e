"""The kit in a browser: axe in both themes, narrow windows, uploads, confirmation, theme, tray."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.static.conftest import ROOT, Site, ready

AXE = (ROOT / "tests" / "vendor" / "axe-core-4.14.1" / "axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN_AXE = """async tags => (await axe.run(document, {runOnly: {type: 'tag', values: tags}})).violations
    .map(found => found.id + ': ' + found.nodes.map(node => node.html.slice(0, 160)).join(' | '))"""


@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/board/?row=a", "/upload/"])
def test_axe_finds_nothing(chromium: Browser, site: Site, path: str, theme: str, width: int) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    page = context.new_page()
    ready(page, site.url + path)
    page.evaluate(AXE)
    assert page.evaluate(RUN_AXE, TAGS) == []
    context.close()


@pytest.mark.parametrize("path", ["/", "/board/", "/upload/"])
def test_nothing_runs_out_of_a_320_px_window(chromium: Browser, site: Site, path: str) -> None:
    context = chromium.new_context(viewport={"width": 320, "height": 600})
    page = context.new_page()
    ready(page, site.url + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    context.close()


def test_the_chosen_theme_wins_over_the_system_and_is_there_at_the_first_paint(tab: Page, site: Site) -> None:
    ready(tab, f"{site.url}/board/")
    tab.click("[popovertarget=account-menu]")
    tab.click("[data-theme-choice] label:has([value=dark])")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 16, 19)"
    tab.route("**/js/main.js", lambda route: route.abort())
    tab.goto(f"{site.url}/board/")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"


def test_confirm_asks_and_only_a_yes_goes_on(tab: Page, site: Site) -> None:
    ready(tab, f"{site.url}/board/")
    tab.evaluate("document.querySelector('[data-confirm]').addEventListener('click', (event) => { event.target.dataset.went = 'on'; })")
    button = tab.locator("[data-confirm]")
    button.click()
    expect(tab.locator("#confirm-title")).to_have_text("Stop this search?")
    tab.keyboard.press("Escape")
    expect(tab.locator("#confirm-dialog")).to_be_hidden()
    button.click()
    tab.click("[data-confirm-no]")
    expect(button).not_to_have_attribute("data-went", "on")
    button.click()
    tab.click("[data-confirm-yes]")
    expect(button).to_have_attribute("data-went", "on")


def test_a_link_and_a_form_wait_for_the_answer(tab: Page, site: Site) -> None:
    ready(tab, f"{site.url}/board/")
    tab.evaluate("""() => document.querySelector('.actions').insertAdjacentHTML('beforeend',
        `<a id="go" href="#went" data-confirm="Go?">go</a>
         <form id="ask" action="/board/" data-confirm="Send?"><button name="sent" value="1">send</button></form>`)""")
    tab.click("#go")
    tab.keyboard.press("Escape")
    assert not tab.url.endswith("#went")
    tab.click("#go")
    tab.click("[data-confirm-yes]")
    tab.wait_for_url("**#went")
    tab.click("#ask button")
    expect(tab.locator("#confirm-title")).to_have_text("Send?")
    tab.click("[data-confirm-yes]")
    tab.wait_for_url("**/board/?sent=1")


def test_the_tray_shows_what_is_under_way(tab: Page, site: Site) -> None:
    ready(tab, f"{site.url}/board/")
    expect(tab.locator("[data-tray-count]")).to_have_text("2")
    tab.click("[data-tray-button]")
    expect(tab.locator("#tray")).to_contain_text("typical wait 20 s")


def _files(folder: Path, count: int, size: int) -> list[Path]:
    paths = [folder / f"scan-{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * size)
    return paths


def _metadata(upload: dict[str, str]) -> dict[str, str]:
    pairs = (part.split(" ") for part in upload["metadata"].split(",") if " " in part)
    return {key: base64.b64decode(value).decode() for key, value in pairs}


def test_each_file_is_one_upload_and_its_id_goes_into_the_form(tab: Page, site: Site, tmp_path: Path) -> None:
    ready(tab, f"{site.url}/upload/")
    paths = _files(tmp_path, 5, 70_000)
    (tmp_path / "model.pkl").write_bytes(b"x")
    tab.set_input_files("[data-file-input]", [*paths, tmp_path / "model.pkl"])
    expect(tab.locator(".file[data-state=done]")).to_have_count(5)
    expect(tab.locator(".file[data-state=refused]")).to_contain_text("not accepted")
    uploads = site.control(do="look")["uploads"]
    assert {upload["sha256"] for upload in uploads} == {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    assert {_metadata(upload)["purpose"] for upload in uploads} == {"samples"}
    assert tab.locator("input[type=hidden][name=uploads]").count() == 5
    tab.locator(".file[data-state=done] [data-file-cancel]").first.click()
    expect(tab.locator("input[type=hidden][name=uploads]")).to_have_count(4)


def test_a_cut_upload_is_resumed_after_a_reload(tab: Page, site: Site, tmp_path: Path) -> None:
    ready(tab, f"{site.url}/upload/")
    (path,) = _files(tmp_path, 1, 17_000_000)
    tab.route("**/uploads/*", lambda route: route.abort() if route.request.headers.get("upload-offset") == "8388608" else route.continue_())
    tab.set_input_files("[data-file-input]", path)
    expect(tab.locator(".file progress")).not_to_have_js_property("value", 0)
    while site.control(do="look")["uploads"][0]["size"] == 0:
        tab.wait_for_timeout(100)
    tab.unroute_all()
    ready(tab, f"{site.url}/upload/")
    expect(tab.locator("[data-resume-note]")).to_contain_text("1 upload from before is kept")
    tab.set_input_files("[data-file-input]", path)
    expect(tab.locator(".file[data-state=done]")).to_have_count(1)
    seen = site.control(do="look")
    assert len(seen["uploads"]) == 1
    assert seen["uploads"][0]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [request.split()[0] for request in seen["requests"] if "/uploads/" in request].count("POST") == 1


def test_a_refused_upload_says_why_and_is_retried_by_itself_alone(tab: Page, site: Site, tmp_path: Path) -> None:
    ready(tab, f"{site.url}/upload/")
    site.control(do="fail-patches", count=1)
    tab.set_input_files("[data-file-input]", _files(tmp_path, 2, 1000))
    failed = tab.locator(".file[data-state=failed]")
    expect(failed).to_contain_text("status 400")
    expect(tab.locator(".file[data-state=done]")).to_have_count(1)
    failed.locator("[data-file-retry]").click()
    expect(tab.locator(".file[data-state=done]")).to_have_count(2)
