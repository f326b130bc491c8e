"""Query counts as reviewed baselines: a change of a number here is a decision. None depends on the number of rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import Team, User
from search.models import SampleSet, Search
from tests.conftest import client_for
from tests.search.factories import make_sampleset, make_search, make_version, run

BASELINES = {"board": 14, "updates": 8, "plots": 6, "plan": 5, "samples": 7, "csv": 4, "search list": 4, "sample list": 5}


@pytest.fixture
def boards(alice: User, team: Team, samples: SampleSet) -> Callable[[int], Search]:
    made: list[object] = []

    def board(count: int) -> Search:
        while len(made) < count:
            made.append(make_version(alice, team, f"model-{len(made)}"))
        search = make_search(alice, samples, made[:count])  # type: ignore[arg-type]
        run(search, accuracies=tuple(0.9 - 0.005 * place for place in range(count)))
        search.candidates.filter(position__lt=3).update(rank_from=1, rank_to=3)
        return search

    return board


def queries(browser: Client, url: str) -> int:
    browser.get(url)  # session and content types are warm
    with CaptureQueriesContext(connection) as captured:
        assert browser.get(url).status_code == 200
    return len(captured)


def urls(search: Search) -> dict[str, str]:
    return {
        "board": search.get_absolute_url(),
        "updates": reverse("search:search_updates", args=[search.pk]),
        "plots": reverse("search:search_plots", args=[search.pk]),
        "plan": reverse("search:search_plan", args=[search.pk]),
        "samples": reverse("search:search_samples", args=[search.pk]),
        "csv": reverse("search:search_csv", args=[search.pk]),
        "search list": reverse("search:search_list"),
        "sample list": reverse("search:sampleset_list"),
    }


def test_a_board_of_64_takes_no_more_queries_than_one_of_3(alice: User, boards: Callable[[int], Search]) -> None:
    browser = client_for(alice)
    small = {name: queries(browser, url) for name, url in urls(boards(3)).items()}
    for _ in range(5):
        make_sampleset(alice)
    large = {name: queries(browser, url) for name, url in urls(boards(64)).items()}
    assert small == large
    assert large == BASELINES


def test_the_large_columns_of_versions_stay_behind(alice: User, boards: Callable[[int], Search]) -> None:
    """A stored program takes megabytes; no page of a search shows it."""
    browser = client_for(alice)
    for name, url in urls(boards(3)).items():
        with CaptureQueriesContext(connection) as captured:
            browser.get(url)
        assert not [query["sql"] for query in captured if '."program"' in query["sql"]], name
