"""What people see where they have no right, where nothing is, and where something broke."""

from __future__ import annotations

import pytest
from django.test import Client, override_settings
from django.urls import path
from playwright.sync_api import expect

from tests.e2e.acts import match_demo
from tests.e2e.people import Desk, ready

MISSING = "status of 404"


def test_an_outsider_sees_no_trace_of_anothers_search_and_samples(desk: Desk) -> None:
    owner = desk.open("demo")
    search = match_demo(owner, "Short interface labels")
    ready(owner, "/samples/")
    own = owner.locator("main a[href^='/samples/']").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    made = [href for href in own if href.rstrip("/").rsplit("/", 1)[-1].isdigit()]
    private = [href for href in made if "Private" in owner.request.get(href).text()]
    page = desk.open("outsider", expected=(MISSING,))
    for address in [f"/searches/{search}/", f"/searches/{search}/report/", *private[:1]]:
        response = page.goto(address)
        assert response is not None
        assert response.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
        assert "Short interface labels" not in page.content()
        expect(page.get_by_role("link", name="To the first page")).to_be_visible()


def test_somebody_not_signed_in_is_sent_to_sign_in_and_comes_back(desk: Desk) -> None:
    page = desk.open(None)
    for address in ("/", "/models/", "/samples/", "/searches/new/", "/operate/workers/", "/settings/tokens/"):
        page.goto(address)
        assert "/accounts/login/" in page.url, address
    page.goto("/models/?modality=text")
    page.get_by_label("Username or e-mail").fill("demo")
    page.get_by_label("Password").fill(desk.password("demo"))
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/models/?modality=text")


def test_a_viewer_neither_publishes_for_the_team_nor_operates(desk: Desk) -> None:
    page = desk.open("viewer", expected=(MISSING, "status of 403"))
    ready(page, "/models/demo/digits-cnn/")
    expect(page.get_by_role("link", name="New version")).to_have_count(0)
    assert page.goto("/models/demo/digits-cnn/versions/new/").status in (403, 404)  # type: ignore[union-attr]
    ready(page, "/models/new/")
    assert "demo" not in page.locator("#id_team option").all_inner_texts()
    for address in ("/operate/workers/", "/operate/storage/"):
        response = page.goto(address)
        assert response is not None
        assert response.status in (403, 404)
        assert page.locator(".brand").count() == 1, "an error page in our look"


def test_a_form_from_before_is_refused_with_a_way_on(desk: Desk) -> None:
    page = desk.open(None, expected=("status of 403",))
    page.goto("/accounts/login/")
    page.get_by_label("Username or e-mail").fill("demo")
    page.get_by_label("Password").fill("whatever it is")
    page.context.clear_cookies()
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The form is too old")
    expect(page.get_by_role("link", name="To the first page")).to_be_visible()


def test_a_new_person_is_told_what_to_do_next_everywhere(desk: Desk) -> None:
    page = desk.open("fresh")
    ready(page, "/")
    expect(page.get_by_role("heading", name="First steps")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("None yet")
    for address, action in (("/searches/", "Match my data"), ("/samples/", "")):
        ready(page, address)
        assert page.locator("main a.btn, main button.btn").count() > 0, address
        if action:
            expect(page.get_by_role("main").get_by_role("link", name=action).first).to_be_visible()
    page.goto("/jobs/tray/")
    assert page.locator("body").inner_text().strip()


def test_a_catalog_without_a_hit_names_the_filter_that_removed_most(desk: Desk) -> None:
    page = desk.open("demo")
    ready(page, "/models/?modality=text&task=digits")
    empty = page.locator(".empty")
    expect(empty).to_contain_text("No model matches")
    empty.locator("a.btn-primary").click()
    expect(page.locator("[data-result-summary]")).not_to_contain_text("0 models")
    assert page.locator("tr[data-row]").count() > 0


def broken(request: object) -> None:
    raise RuntimeError("deliberately")


urlpatterns = [path("broken/", broken), path("api/broken/", broken)]


@override_settings(ROOT_URLCONF="tests.e2e.test_access")
@pytest.mark.parametrize("handlers", [{"handler500": "config.errors.server_error"}])
def test_a_broken_page_keeps_our_look_and_a_broken_route_its_format(monkeypatch: pytest.MonkeyPatch, handlers: dict[str, str]) -> None:
    for name, value in handlers.items():
        monkeypatch.setitem(globals(), name, value)
    client = Client(raise_request_exception=False)
    page = client.get("/broken/")
    assert page.status_code == 500
    assert "Something broke on our side" in page.content.decode()
    assert "deliberately" not in page.content.decode()
    answer = client.get("/api/broken/")
    assert answer.status_code == 500
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 500
