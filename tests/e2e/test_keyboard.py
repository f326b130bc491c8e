"""Single keys: what they do, and that they can be switched off."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.e2e.people import Desk, ready


def test_keys_reach_search_rows_help_and_a_new_search(desk: Desk) -> None:
    page = desk.open("demo")
    ready(page, "/models/")
    page.keyboard.press("/")
    field = page.get_by_role("searchbox", name="Search models")
    expect(field).to_be_focused()
    page.keyboard.type("njx?/")
    expect(field).to_have_value("njx?/")  # in a field, keys are text
    field.blur()
    rows = page.locator("tr[data-row]")
    page.keyboard.press("j")
    expect(rows.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(rows.nth(0)).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Keyboard shortcuts")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("n")
    page.wait_for_url("**/searches/new/")
    ready(page, "/models/")
    page.keyboard.press("j")
    title = rows.nth(0).locator("a").first.inner_text()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(title)


def test_keys_are_silent_once_switched_off_in_the_settings(desk: Desk) -> None:
    page = desk.open("fresh")
    ready(page, "/settings/")
    page.get_by_label("Single-key shortcuts", exact=False).first.uncheck()
    page.get_by_role("main").get_by_role("button", name="Save").click()
    ready(page, "/models/")
    page.keyboard.press("n")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search models")).not_to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.url.endswith("/models/")
    ready(page, "/settings/")
    page.get_by_label("Single-key shortcuts", exact=False).first.check()
    page.get_by_role("main").get_by_role("button", name="Save").click()
    ready(page, "/models/")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search models")).to_be_focused()
