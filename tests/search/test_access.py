"""Every page and every API route, asked by the owner, a team mate (shared and not), an outsider and nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.http import HttpResponse
from django.urls import URLPattern, reverse

from accounts.models import Team, User
from search import urls as pages
from search.api import urls as api
from search.models import Search, SearchState
from search.samplesets import sampleset_share
from search.services import search_share
from tests.conftest import api_for, client_for
from tests.search.factories import make_report


@dataclass(frozen=True, slots=True)
class Case:
    """allowed: status for whoever may. shared: may a team mate once it is shared? anybody: whoever is signed in, about their own."""

    name: str
    allowed: int
    method: str = "get"
    shared: bool = True
    args: tuple[str, ...] = ("search",)
    data: dict[str, Any] | None = None
    anybody: bool = False


def page(name: str, allowed: int = 200, **rest: Any) -> Case:
    return Case(f"search:{name}", allowed, **rest)


SET = ("samples",)
ROW = ("search", "row")
PAGES = [
    page("sampleset_list", args=(), anybody=True),
    page("sampleset_new", args=(), anybody=True),
    page("sampleset_detail", args=SET),
    page("sampleset_status", args=SET),
    page("sampleset_problems", args=SET),
    page("sampleset_options", 302, method="post", args=SET, shared=False, data={"limit": "5"}),
    page("sampleset_extend", 302, method="post", args=SET, shared=False, data={"until": "2000-01-01"}),
    page("sampleset_share", 302, method="post", args=SET, shared=False),
    page("sampleset_delete", args=SET, shared=False),
    page("search_list", args=(), anybody=True),
    page("search_new", args=(), anybody=True),
    page("search_count", args=(), method="post", data={"samples": "{samples}"}),
    page("search_detail"),
    page("search_updates"),
    page("search_plan"),
    page("search_plots"),
    page("search_samples"),
    page("search_confirm"),
    page("confirm_label", 302, method="post"),
    page("confirm_undo", 302, method="post"),
    page("confirm_use", 302, method="post", shared=False),
    page("confirm_give", 302, method="post", shared=False, data={"team": "vision"}),
    page("confirm_take_back", 302, method="post", shared=False),
    page("search_stop", 302, method="post", shared=False),
    page("search_rerun", 302, method="post"),
    page("search_share", 302, method="post", shared=False),
    page("search_delete", 302, method="post", shared=False),
    page("search_csv"),
    page("search_json"),
    page("search_row", args=ROW),
    page("candidate_retry", 302, method="post", args=ROW, shared=False),
    page("report_list"),
    page("report", args=("search", "report")),
]
API = [
    Case("api-sample-sets", 200, args=(), anybody=True),
    Case("api-sample-set", 200, args=SET),
    Case("api-sample-set", 200, method="patch", args=SET, shared=False, data={"name": "Another"}),
    Case("api-sample-set", 200, method="delete", args=SET, shared=False),
    Case("api-sample-set-footprint", 200, args=SET, shared=False),
    Case("api-sample-set-recheck", 202, method="post", args=SET, shared=False, data={}),
    Case("api-sample-set-problems", 200, args=SET),
    Case("api-sample-set-previews", 200, args=SET),
    Case("api-searches", 200, args=(), anybody=True),
    Case("api-searches", 201, method="post", args=(), data={"sample_set": "{samples}"}),
    Case("api-search-plan", 200, method="post", args=(), data={"sample_set": "{samples}"}),
    Case("api-search", 200),
    Case("api-search", 200, method="patch", shared=False, data={"shared_with": None}),
    Case("api-search", 204, method="delete", shared=False),
    Case("api-search-events", 200),
    Case("api-search-stop", 202, method="post", shared=False),
    Case("api-search-rerun", 201, method="post"),
    Case("api-candidates", 200),
    Case("api-candidate", 200, args=ROW),
    Case("api-candidate-retry", 202, method="post", args=ROW, shared=False),
    Case("api-search-difference", 404),
    Case("api-search-execution", 404),
    Case("api-search-plots", 200),
    Case("api-search-disputed", 200),
    Case("api-search-labels", 200),
    Case("api-search-labels", 422, method="post", data={"ticket": "of nobody", "label": None}),
    Case("api-search-labels", 200, method="patch", shared=False, data={"calibrates": True}),
    Case("api-search-label-probes", 200, shared=False),
    Case("api-search-label-probes", 422, method="post", shared=False, data={"team": "vision"}),
    Case("api-search-label-probes", 200, method="delete", shared=False),
    Case("api-search-label-next", 200),
    Case("api-search-label", 404, method="delete", args=("search", "item")),
    Case("api-search-json", 200),
    Case("api-search-csv", 200),
    Case("api-reports", 200),
    Case("api-reports", 201, method="post"),
    Case("api-report", 200, args=("search", "report")),
]
CASES = [*PAGES, *API]


def names(patterns: list[Any], prefix: str) -> set[str]:
    return {f"{prefix}{pattern.name}" for pattern in patterns if isinstance(pattern, URLPattern)}


def test_every_address_has_a_case() -> None:
    assert {case.name for case in PAGES} == names(pages.urlpatterns, "search:")
    assert {case.name for case in API} == names(api.urlpatterns, "")


def ask(case: Case, user: User | AnonymousUser, search: Search) -> HttpResponse:
    ids = {
        "search": search.pk,
        "samples": search.sample_set_id,
        "row": search.candidates.order_by("position")[0].pk,
        "item": 0,
        "report": make_report(search).pk if "report" in case.args else 0,
    }
    url = reverse(case.name, args=[ids[name] for name in case.args])
    data = {key: ids["samples"] if value == "{samples}" else value for key, value in (case.data or {}).items()}
    client = api_for(user) if case.name.startswith("api-") else client_for(user)
    return getattr(client, case.method)(url, data)


def answers(user: User | AnonymousUser, search: Search) -> dict[str, int]:
    """Status of every case, each undone before the next."""
    found = {}
    for case in CASES:
        with transaction.atomic():
            found[f"{case.method} {case.name}"] = ask(case, user, search).status_code
            transaction.set_rollback(True)
    return found


def expected(status: Callable[[Case], int]) -> dict[str, int]:
    return {f"{case.method} {case.name}": status(case) for case in CASES}


@pytest.fixture
def shared(finished: Search, alice: User, team: Team) -> Search:
    search_share(search=finished, team=team, actor=alice)
    sampleset_share(sample_set=finished.sample_set, team=team, actor=alice)
    return finished


def test_owner(alice: User, finished: Search) -> None:
    assert answers(alice, finished) == expected(lambda case: case.allowed)


def test_team_mate_without_sharing(bob: User, finished: Search) -> None:
    assert answers(bob, finished) == expected(lambda case: case.allowed if case.anybody else 404)


def test_team_mate_with_sharing(bob: User, shared: Search) -> None:
    assert answers(bob, shared) == expected(lambda case: case.allowed if case.anybody or case.shared else 404)


def test_outsider(charlie: User, shared: Search) -> None:
    assert answers(charlie, shared) == expected(lambda case: case.allowed if case.anybody else 404)


def test_nobody(shared: Search) -> None:
    assert answers(AnonymousUser(), shared) == expected(lambda case: 401 if case.name.startswith("api-") else 302)


def test_nobody_is_sent_to_the_sign_in_page(finished: Search) -> None:
    answer = client_for(AnonymousUser()).get(finished.get_absolute_url())
    assert answer["Location"].startswith(reverse("account_login"))


def test_a_stop_takes_hold_while_live(alice: User, finished: Search) -> None:
    """The stop cases above ask a search that has ended; here one that lives, with nobody working on it yet."""
    Search.objects.filter(pk=finished.pk).update(state=SearchState.QUEUED)
    copy = client_for(alice).post(reverse("search:search_rerun", args=[finished.pk]))
    made = Search.objects.latest("pk")
    assert copy["Location"] == made.get_absolute_url()
    client_for(alice).post(reverse("search:search_stop", args=[made.pk]))
    made.refresh_from_db()
    assert made.state == SearchState.STOPPED


def test_a_shared_board_does_not_share_the_samples(alice: User, bob: User, team: Team, finished: Search) -> None:
    search_share(search=finished, team=team, actor=alice)
    row = finished.candidates.order_by("position").last()
    assert row is not None
    for url in (reverse("search:search_samples", args=[finished.pk]), reverse("search:search_row", args=[finished.pk, row.pk])):
        mine, theirs = client_for(alice).get(url), client_for(bob).get(url)
        assert "sample number" in mine.content.decode()
        assert theirs.status_code == 200
        assert "sample number" not in theirs.content.decode()


def test_demo_sets_are_for_everybody_and_nobody_changes_them(alice: User, charlie: User, finished: Search) -> None:
    finished.sample_set.demo = True
    finished.sample_set.save()
    pk = finished.sample_set_id
    assert client_for(charlie).get(reverse("search:sampleset_detail", args=[pk])).status_code == 200
    assert client_for(charlie).post(reverse("search:sampleset_delete", args=[pk])).status_code == 404
    assert client_for(charlie).get(reverse("search:search_detail", args=[finished.pk])).status_code == 404
