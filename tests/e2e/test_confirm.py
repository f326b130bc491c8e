"""Labelling by the keys until the page says it is enough, with what a person has at hand: keys, undo, a reload, the board after it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.people import Desk, ready
from tests.system import System, wait_until

TRUTH = """
import json, sys
import numpy as np
from search.labelling import round_of
from search.models import Search
search = Search.objects.get(pk={search})
found = round_of(search)
print(json.dumps(found.contest.votes[0].tolist()))
"""


def counted(page: Page) -> int:
    grade = page.locator(".confirm-standing .grade-confirmed")
    return int(re.sub(r"\D", "", grade.inner_text())) if grade.count() else 0


def press(page: Page, key: str) -> None:
    """A key, and the piece of the page that follows it."""
    with page.expect_response(lambda answer: "/confirm/" in answer.url and answer.request.method == "POST"):
        page.keyboard.press(key)
    expect(page.locator("#confirm")).not_to_have_class(re.compile("htmx-request"))


@pytest.fixture
def search(system: System) -> int:
    """A finished search of the demo account."""
    token = system.python(
        "from datetime import timedelta; from accounts.models import User; from accounts.services import token_create\n"
        "print(token_create(user=User.objects.get(username='demo'), name='labels', lifetime=timedelta(days=7),"
        "scopes=['search:read', 'search:write'])[1])"
    )
    with system.client(token) as client:
        sets = {row["name"]: row["id"] for row in client.get("/api/sample-sets/").json()["results"]}
        made = client.post("/api/searches/", json={"sample_set": sets["Digits from a night camera"], "name": "To confirm"}).json()["id"]
        wait_until(lambda: client.get(f"/api/searches/{made}/").json()["state"] == "finished", 120, "the search")
    return int(made)


@pytest.fixture
def votes(system: System, search: int) -> list[int]:
    """What the first of the board says of every sample: it stands in for what the person knows."""
    return list(json.loads(system.python(TRUTH.format(search=search)).strip().splitlines()[-1]))


def test_labels_by_keys_move_the_leaders_and_can_be_undone(desk: Desk, search: int, votes: list[int]) -> None:
    page = desk.open("demo")
    address = f"/searches/{search}/confirm/"
    ready(page, address)
    while counted(page) or page.locator("#label-undo").count():
        press(page, "u")
    question = page.locator(".confirm-ask .card-head .push")
    first = question.inner_text()
    before = page.locator(".standings").inner_text()

    press(page, "s")
    expect(page.locator(".confirm-ask")).to_contain_text("skipped")
    press(page, "u")
    expect(question).to_have_text(first)
    assert counted(page) == 0

    for done in range(1, 7):
        sample = int(re.search(r"Sample (\d+)", question.inner_text())[1])  # type: ignore[index]
        label = page.locator(f"#label-{votes[sample]}")
        if label.get_attribute("data-key"):
            press(page, str(label.get_attribute("data-key")))
        else:
            page.locator("#label-find").fill(str(label.get_attribute("data-label-name")))
            press(page, "Enter")
            expect(page.locator("#label-find")).to_be_focused()
            page.locator("#label-find").blur()
        expect(page.locator(".confirm-standing .grade-confirmed")).to_contain_text(f"{done} label")
    assert page.locator(".standings").inner_text() != before
    expect(page.locator("#status")).to_contain_text("probability")

    sixth = page.locator(".confirm-ask").inner_text()
    page.reload()
    assert page.locator(".confirm-ask").inner_text() == sixth, "the question is another after a reload"
    assert counted(page) == 6
    if folder := os.environ.get("SCREENSHOTS"):
        pictures(desk, address, Path(folder))

    page.get_by_role("link", name="Board", exact=True).click()
    expect(page.locator("td[data-col=evidence] .grade-confirmed").first).to_contain_text("6 labels")


def pictures(desk: Desk, address: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for theme in ("light", "dark"):
        for width in (1280, 375):
            page = desk.open("demo", width=width, theme=theme)
            ready(page, address)
            page.screenshot(path=folder / f"confirm-labelled-{theme}-{width}.png", full_page=True)
