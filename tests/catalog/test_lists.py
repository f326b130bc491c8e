"""Facets, full text, sorting and paging of the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from accounts.models import Team, User
from catalog.errors import BadPage
from catalog.facets import facet_counts, relaxations
from catalog.filters import parse_filters, text_query
from catalog.models import RegisteredModel
from catalog.paging import SORTS, page_of, parse_sort
from tests.catalog.makers import published_row
from tests.conftest import api_for, client_for

pytestmark = pytest.mark.django_db

DIGITS = [str(digit) for digit in range(10)]


@pytest.fixture
def shop(team: Team, alice: User) -> list[RegisteredModel]:
    """Seven models with ties, unknown values and two label sets."""
    cnn, mlp, mit = {"architecture": "CNN"}, {"architecture": "MLP"}, {"licence": "mit"}
    half = {"accuracy": 0.5, "latency_ms": 1.5}
    digits, animals = {"task": "digits"}, {"task": "animals"}
    rows: list[tuple[str, dict[str, object]]] = [
        ("alpha", {"labels": DIGITS, "parameters": 500, "size_bytes": 10} | digits | cnn | mit | half),
        ("beta", {"labels": DIGITS[::-1], "parameters": 50_000, "size_bytes": 2_000_000} | digits | mlp | half),
        ("gamma", {"parameters": 50_000, "accuracy": 0.1 + 0.2} | animals | mlp | mit),
        ("delta", {"parameters": 2_000_000_000, "accuracy": 0.5} | animals),
        ("epsilon", {"summary": "Reads zebra crossings"} | animals | cnn),
        ("zeta", {"task": "zebras", "description": "Nothing about horses"}),
        ("eta", {"labels": DIGITS, "title": "ALPHA"} | digits),
    ]
    return [published_row(team, alice, name, **fields) for name, fields in rows]


def names(address: str, user: User) -> list[str]:
    response = api_for(user).get(address)
    assert response.status_code == 200, response.content
    return [row["name"] for row in response.json()["results"]]


def options(user: User, query: str) -> dict[str, dict[str, int]]:
    visible = RegisteredModel.objects.visible_to(user)
    return {
        facet.key: {option.label: option.count for option in facet.options}
        for facet in facet_counts(visible, parse_filters(QueryDict(query)))
    }


def test_facet_counts_reflect_the_other_filters_only(shop: list[RegisteredModel], alice: User) -> None:
    everything = options(alice, "")
    assert everything["task"] == {"animals": 3, "digits": 3, "zebras": 1}
    assert everything["labels"] == {"cat, dog, fox": 4, "0, 1, 2 and 7 more": 3}, "the order of labels makes no other label set"
    assert everything["parameters"] == {"under 10 thousand": 1, "10 to 100 thousand": 2, "100 million and more": 1}
    assert everything["size"] == {"under 1 MB": 1, "1 to 10 MB": 1}
    narrowed = options(alice, "task=digits&architecture=CNN")
    assert narrowed["task"] == {"digits": 1, "animals": 1}, "its own choice does not narrow a facet"
    assert narrowed["architecture"] == {"CNN": 1, "MLP": 1}
    assert narrowed["licence"] == {"mit": 1}
    assert options(alice, "task=none")["task"]["none"] == 0, "a chosen value stays on the page"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("task=digits", {"alpha", "beta", "eta"}),
        ("task=digits&task=zebras", {"alpha", "beta", "eta", "zeta"}),
        ("task=digits&architecture=MLP", {"beta"}),
        ("parameters=10k-100k", {"beta", "gamma"}),
        ("parameters=under-10k&parameters=over-100m", {"alpha", "delta"}),
        ("parameters=nonsense", set()),
        ("licence=mit&modality=image", {"alpha", "gamma"}),
        ("team=elsewhere", set()),
        ("q=zebra", {"epsilon", "zeta"}),
        ("q=zeb", {"epsilon", "zeta"}),
        ("q=fox", {"gamma", "delta", "epsilon", "zeta"}),
        ("q=horse", {"zeta"}),
        ("q=a&architecture=MLP", {"gamma"}),
        ("q=about the horses", {"zeta"}),
        ("q=zebra horses", {"zeta"}),
        ("q=%26%7C!", set()),
        ("q='):* OR 1=1", {"alpha", "beta", "eta"}),  # "or" is too common to count, and 1 is a label
        ("task=digits%00", {"alpha", "beta", "eta"}),
    ],
)
def test_filters(shop: list[RegisteredModel], alice: User, query: str, found: set[str]) -> None:
    assert set(names(f"/api/models/?{query}", alice)) == found


def test_rare_values_are_counted_not_listed(shop: list[RegisteredModel], alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.facets.MOST_OPTIONS", 2)
    visible = RegisteredModel.objects.visible_to(alice)
    task = next(facet for facet in facet_counts(visible, parse_filters(QueryDict("task=zebras"))) if facet.key == "task")
    assert [option.value for option in task.options] == ["animals", "digits", "zebras"] and task.more == 1
    assert "and 1 rarer value" in client_for(alice).get("/models/").content.decode()


def test_title_and_task_weigh_more_than_the_rest(shop: list[RegisteredModel], alice: User) -> None:
    assert names("/api/models/?q=zebra", alice) == ["zeta", "epsilon"]


def test_words_are_escaped_for_tsquery() -> None:
    assert text_query("  ") is None and text_query("&|!()':*") is None


@pytest.mark.parametrize("direction", ["", "-"])
@pytest.mark.parametrize("key", SORTS)
def test_every_order_pages_through_all_rows_once_forwards_and_backwards(
    shop: list[RegisteredModel], alice: User, key: str, direction: str
) -> None:
    q = "q=a&" if key == "relevance" else ""
    whole = names(f"/api/models/?{q}sort={direction}{key}&page_size=200", alice)
    assert len(whole) == len(set(whole)) and len(whole) == (7 if not q else 5)
    forwards, pages, address = [], [], f"/api/models/?{q}sort={direction}{key}&page_size=2"
    while address:
        body = api_for(alice).get(address).json()
        pages.append([row["name"] for row in body["results"]])
        forwards += pages[-1]
        last, address = address, body["next"]
    assert forwards == whole
    backwards, address = [], last
    while address:
        body = api_for(alice).get(address).json()
        backwards = [row["name"] for row in body["results"]] + backwards
        address = body["previous"]
    assert backwards == whole


def test_unknown_values_come_last_both_ways(shop: list[RegisteredModel], alice: User) -> None:
    assert (
        set(names("/api/models/?sort=parameters", alice)[-3:])
        == set(names("/api/models/?sort=-parameters", alice)[-3:])
        == {"epsilon", "zeta", "eta"}
    )
    assert (
        {"delta", "zeta", "eta"}
        == set(names("/api/models/?sort=architecture", alice)[-3:])
        == set(names("/api/models/?sort=-architecture", alice)[-3:])
    )


def test_rows_added_meanwhile_move_nothing(shop: list[RegisteredModel], team: Team, alice: User) -> None:
    first = api_for(alice).get("/api/models/?sort=name&page_size=3").json()
    published_row(team, alice, "aaa")
    second = api_for(alice).get(first["next"]).json()
    seen = [row["name"] for row in first["results"] + second["results"]]
    assert len(set(seen)) == 6 and "aaa" not in seen


@pytest.mark.parametrize("cursor", ["x", "W10", "WyItbmFtZSIsICIwYSIsIDFd", "%00", "bnVsbA", "W1sxXSwyLDNd"])
def test_foreign_cursors_are_an_error_in_the_api_and_the_first_page_on_the_page(
    shop: list[RegisteredModel], alice: User, cursor: str
) -> None:
    response = api_for(alice).get(f"/api/models/?sort=name&after={cursor}")
    assert response.status_code == 422 and response.json()["type"] == "urn:modelshop:bad_page"
    page = client_for(alice).get(f"/models/?sort=name&after={cursor}")
    assert page.status_code == 200 and b"vision/alpha" in page.content
    with pytest.raises(BadPage):
        page_of(RegisteredModel.objects.all(), parse_sort("name", searching=False), after="%%%")


def test_no_hit_names_the_filter_that_removed_most(shop: list[RegisteredModel], alice: User) -> None:
    page = client_for(alice).get("/models/?task=zebras&architecture=CNN").content.decode()
    assert "Task removed most: without it there are 2 models." in page
    assert "Drop Task (2)" in page and "Drop Architecture (1)" in page
    assert 'href="?architecture=CNN"' in page
    visible = RegisteredModel.objects.visible_to(alice)
    stuck = relaxations(visible, parse_filters(QueryDict("q=alpha&task=zebras&architecture=RNN&licence=mit")))
    assert len(stuck) == 1 and stuck[0].count >= 1, "where no single filter is the cause, the fewest together"


def test_the_page_keeps_its_whole_state_in_every_link(shop: list[RegisteredModel], alice: User) -> None:
    page = client_for(alice).get("/models/?q=a&task=digits&sort=-parameters&view=cards")
    addresses = [address for address in links(page.content.decode()) if address.startswith("?")]
    assert len(addresses) > 20
    for address in addresses:
        query = parse_qs(urlsplit(address).query)
        kept = sum([query.get("q") == ["a"], query.get("task", [""])[0] == "digits", "sort" in query, query.get("view") == ["cards"]])
        assert kept >= 3 or address == "?sort=-parameters&view=cards", address


def links(text: str) -> Iterator[str]:
    for part in text.split('href="')[1:]:
        yield part.split('"')[0].replace("&amp;", "&")


def test_only_the_sorted_column_says_so(shop: list[RegisteredModel], alice: User) -> None:
    page = client_for(alice).get("/models/?sort=-parameters").content.decode()
    assert page.count("aria-sort") == 1
    assert 'aria-sort="descending"><a href="?sort=parameters">Parameters' in page.replace(' class="num"', "")


# Reviewed baselines. A page spends two on session and person; the list counts, pages, counts facets (once more per
# chosen one) and names label sets.
QUERIES = {"list": 9, "no hit": 11, "api": 1, "facets": 2, "model": 10, "home": 11}


@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("list", "/models/?task=digits"),
        ("no hit", "/models/?task=digits&licence=none"),
        ("api", "/api/models/"),
        ("facets", "/api/models/facets/"),
        ("model", "/models/vision/alpha/"),
        ("home", "/"),
    ],
)
def test_queries_do_not_grow_with_rows(shop: list[RegisteredModel], team: Team, alice: User, key: str, address: str) -> None:
    client = api_for(alice) if address.startswith("/api") else client_for(alice)
    counts = []
    for _ in range(2):
        client.get(address)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address).status_code == 200
        counts.append(len(queries))
        for place in range(5):
            published_row(team, alice, f"more-{len(counts)}-{place}", task="digits")
    assert counts[0] == counts[1]
    assert counts[0] == QUERIES[key], [query["sql"][:150] for query in queries]


def test_lists_never_fetch_programs_or_specs(shop: list[RegisteredModel], alice: User) -> None:
    for client, address in (
        (client_for(alice), "/models/"),
        (client_for(alice), "/models/vision/alpha/versions/"),
        (client_for(alice), "/"),
        (api_for(alice), "/api/models/"),
        (client_for(alice), "/curate/queue/"),
    ):
        with CaptureQueriesContext(connection) as queries:
            client.get(address)
        assert not [query["sql"] for query in queries if '"program"' in query["sql"] or '"arrays"' in query["sql"]], address
