"""Every page: it answers, nothing fails behind its back, axe is content in both themes, nothing runs out of a narrow window."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from playwright.sync_api import Page

from tests.e2e.pages import NO_PAGES, VIEWS, Places, View
from tests.e2e.people import Desk, wait_bound
from tests.system import ROOT, System, wait_until

AXE = (ROOT / "tests" / "vendor" / "axe-core-4.14.1" / "axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN_AXE = """async tags => (await axe.run(document, {runOnly: {type: 'tag', values: tags}})).violations
    .map(found => found.id + ': ' + found.nodes.map(node => node.html.slice(0, 160)).join(' | '))"""
WIDER_THAN_WINDOW = """() => document.documentElement.scrollWidth <= innerWidth ? [] : [...document.body.querySelectorAll('*')]
    .filter(element => element.getBoundingClientRect().right > innerWidth + 1 && !element.closest('.table-scroll, pre, [popover]'))
    .slice(0, 5).map(element => element.outerHTML.slice(0, 160))"""


def named_patterns(resolver: URLResolver, space: str = "") -> Iterator[str]:
    """Names of all addresses of the site, the REST API left out: it has tests of its own."""
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLPattern):
            name = f"{space}{pattern.name}"
            if not name.startswith("api-"):
                yield name
        elif pattern.namespace == "admin":
            yield "admin:index"
        else:
            yield from named_patterns(pattern, f"{pattern.namespace}:" if pattern.namespace else space)


def test_every_address_is_listed_as_a_page_or_as_none() -> None:
    """A new page that is not in tests/e2e/pages.py would never be looked at."""
    listed = {view.key.split()[0] for view in VIEWS} | {name for names in NO_PAGES.values() for name in names}
    there = set(named_patterns(get_resolver()))
    assert there - listed == set(), "not listed"
    assert listed - there == set(), "listed, but gone"


@pytest.fixture(scope="package")
def places(system: System) -> Places:
    """Made over REST with a token of the demo account."""
    token = system.python(
        "from datetime import timedelta; from accounts.models import User; from accounts.services import token_create\n"
        "print(token_create(user=User.objects.get(username='demo'), name='pages', lifetime=timedelta(days=7),"
        "scopes=['catalog:read', 'catalog:write', 'search:read', 'search:write'])[1])"
    )
    with system.client(token) as client:
        sets = {row["name"]: row["id"] for row in client.get("/api/sample-sets/").json()["results"]}
        samples = sets["Digits from a night camera"]
        bad = b"text;rating\n" + b"".join(b"a word of text number %d;%d\n" % (n, n) for n in range(20)) + b";3\n;4\n"
        made = client.post(
            "/uploads/",
            content=bad,
            headers={
                "Tus-Resumable": "1.0.0",
                "Upload-Length": str(len(bad)),
                "Upload-Metadata": "filename bm90ZXMuY3N2,purpose c2FtcGxlcw==",
                "Content-Type": "application/offset+octet-stream",
            },
        )
        upload = made.headers["location"].rstrip("/").rsplit("/", 1)[-1]
        bad_set = client.post("/api/sample-sets/", json={"uploads": [upload], "name": "Notes with gaps", "modality": "text"}).json()["id"]
        search = client.post("/api/searches/", json={"sample_set": samples, "name": "Night camera"}).json()["id"]
        wait_until(lambda: client.get(f"/api/searches/{search}/").json()["state"] == "finished", 120, "the search")
        wait_until(lambda: client.get(f"/api/sample-sets/{bad_set}/").json()["state"] == "ready", 60, "the sample set")
        return Places(
            samples=samples,
            bad_samples=bad_set,
            search=search,
            candidate=client.get(f"/api/searches/{search}/candidates/").json()[0]["id"],
            report=client.post(f"/api/searches/{search}/reports/").json()["id"],
            job=client.get("/api/jobs/").json()["results"][0]["id"],
            probe_set=next(row["key"] for row in client.get("/api/probe-sets/").json() if row["modality"] == "image"),
        )


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures go: SCREENSHOTS, else a temporary folder."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.key)
def test_page(desk: Desk, places: Places, album: Path, view: View) -> None:
    page = desk.open(view.who, height=900)
    response = page.goto(view.address(places))
    assert response is not None
    assert response.status == 200
    if view.settle:
        view.settle(page)
    if not view.own:
        page.screenshot(path=album / f"{file_name(view)}-light-1280.png")
        return
    wait_bound(page)
    assert page.title().strip() not in ("", "Modelshop") or view.key.startswith("home")
    problems = []
    page.evaluate(AXE)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        problems += [f"{theme}: {found}" for found in page.evaluate(RUN_AXE, TAGS)]
    for width in (1280, 375):
        page.set_viewport_size({"width": width, "height": 900})
        problems += [f"wider than {width} px: {found}" for found in page.evaluate(WIDER_THAN_WINDOW)]
        picture(page, album / f"{file_name(view)}-dark-{width}.png")
    page.emulate_media(color_scheme="light")
    picture(page, album / f"{file_name(view)}-light-375.png")
    page.set_viewport_size({"width": 1280, "height": 900})
    picture(page, album / f"{file_name(view)}-light-1280.png")
    assert problems == []


def file_name(view: View) -> str:
    return re.sub(r"\W+", "-", view.key)


def picture(page: Page, path: Path) -> None:
    page.screenshot(path=path, full_page=True, animations="disabled")
