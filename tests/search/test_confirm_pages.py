"""The confirm page and its REST twin: what each person gets, with scripts and without."""

from __future__ import annotations

import shutil

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Team, User
from catalog.models import ModelVersion
from search.labelling import round_of
from search.labelling_models import Confirmation, GivenLabel
from search.models import SampleSet, Search, SearchState
from search.samplesets import sampleset_share
from search.services import search_share
from tests.conftest import api_for, client_for
from tests.search.factories import LABELS, make_search, run

pytestmark = pytest.mark.django_db
SCRIPT = {"HTTP_HX_REQUEST": "true"}


def page(search: Search) -> str:
    return reverse("search:search_confirm", args=[search.pk])


def give(browser: Client, search: Search, person: User, label: str = "0", **headers: str) -> str:
    ask = round_of(search).ask(person)
    assert ask is not None
    answer = browser.post(reverse("search:confirm_label", args=[search.pk]), {"ticket": ask.ticket, "label": label}, **headers)  # type: ignore[arg-type]
    if headers:
        return answer.content.decode()
    assert answer["Location"] == page(search)
    return browser.get(page(search)).content.decode()


def test_the_page_shows_one_sample_its_labels_with_keys_and_the_leaders(alice: User, finished: Search) -> None:
    text = client_for(alice).get(page(finished)).content.decode()
    assert text.count("sample number") == 1
    for number, name in enumerate(LABELS):
        assert f'value="{number}" data-label-name="{name}" data-key="{number + 1}"' in text
    assert text.count('class="standing-name"') == 3
    assert "No label yet: this is what was predicted." in text
    assert "grade-predicted" in text
    assert "grade-confirmed" not in text


@pytest.mark.parametrize("headers", [{}, SCRIPT])
def test_a_label_moves_the_page_on_with_and_without_scripts(alice: User, finished: Search, headers: dict[str, str]) -> None:
    text = give(client_for(alice), finished, alice, "1", **headers)
    assert "confirmed (1 label)" in text
    assert f"is “{LABELS[1]}”" in text
    assert ("<html" in text) != bool(headers)
    text = client_for(alice).post(reverse("search:confirm_undo", args=[finished.pk]), **SCRIPT).content.decode()  # type: ignore[arg-type]
    assert "No label yet" in text
    assert "Undo" not in text


def test_a_skip_is_told_as_one(alice: User, finished: Search) -> None:
    text = give(client_for(alice), finished, alice, "", **SCRIPT)
    assert "skipped." in text
    assert "You skipped 1." in text
    assert "grade-confirmed" not in text


@pytest.mark.parametrize("label", ["cat", "99", "-1", "9" * 30])
def test_a_label_that_is_none_is_refused_beside_the_same_question(alice: User, finished: Search, label: str) -> None:
    text = give(client_for(alice), finished, alice, label, **SCRIPT)
    assert 'role="alert"' in text
    assert "What is this?" in text
    assert not GivenLabel.objects.exists()


def test_many_labels_get_a_field_to_find_them_by_and_no_keys(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = run(make_search(alice, samples, versions, labels=[f"label {n}" for n in range(12)]))
    text = client_for(alice).get(page(search)).content.decode()
    assert "data-label-find" in text
    assert 'data-key="1"' not in text


def test_two_people_label_together_and_see_it(alice: User, bob: User, team: Team, finished: Search) -> None:
    search_share(search=finished, team=team, actor=alice)
    sampleset_share(sample_set=finished.sample_set, team=team, actor=alice)
    give(client_for(alice), finished, alice)
    text = give(client_for(bob), finished, bob)
    assert "confirmed (2 labels)" in text
    assert "Labelled by alice, bob" in text


def test_who_sees_the_board_alone_sees_what_was_confirmed_and_labels_nothing(alice: User, bob: User, team: Team, finished: Search) -> None:
    search_share(search=finished, team=team, actor=alice)
    give(client_for(alice), finished, alice)
    browser = client_for(bob)
    text = browser.get(page(finished)).content.decode()
    assert "sample number" not in text
    assert "data-label-name" not in text
    assert "confirmed (1 label)" in text
    assert browser.post(reverse("search:confirm_label", args=[finished.pk])).status_code == 404
    assert browser.post(reverse("search:confirm_undo", args=[finished.pk])).status_code == 404
    api = api_for(bob)
    assert api.get(reverse("api-search-labels", args=[finished.pk])).status_code == 200
    assert api.get(reverse("api-search-label-next", args=[finished.pk])).status_code == 404
    assert api.post(reverse("api-search-labels", args=[finished.pk]), {"ticket": "x", "label": None}).status_code == 404


def test_before_anything_ran_the_page_says_what_to_wait_for(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = make_search(alice, samples, versions, state=SearchState.RUNNING)
    text = client_for(alice).get(page(search)).content.decode()
    assert "There is nothing to confirm yet." in text
    assert "data-label-name" not in text
    assert api_for(alice).get(reverse("api-search-labels", args=[search.pk])).status_code == 422


def test_once_the_samples_are_gone_the_page_says_so(alice: User, finished: Search) -> None:
    give(client_for(alice), finished, alice)
    shutil.rmtree(finished.sample_set.folder)
    text = client_for(alice).get(page(finished)).content.decode()
    assert "The samples are gone." in text
    assert client_for(alice).post(reverse("search:confirm_undo", args=[finished.pk])).status_code == 302
    assert GivenLabel.objects.count() == 1


def test_the_owner_may_let_labels_serve_calibration_and_nothing_is_ticked_before(alice: User, finished: Search) -> None:
    browser = client_for(alice)
    text = give(browser, finished, alice)
    assert '<input type="checkbox" name="calibrates">' in text
    browser.post(reverse("search:confirm_use", args=[finished.pk]), {"calibrates": "on"})
    assert Confirmation.objects.get(search=finished).calibrates
    assert '<input type="checkbox" name="calibrates" checked>' in browser.get(page(finished)).content.decode()
    browser.post(reverse("search:confirm_use", args=[finished.pk]))
    assert not Confirmation.objects.get(search=finished).calibrates


def test_rest_asks_labels_and_takes_back(alice: User, finished: Search) -> None:
    api, labels = api_for(alice), reverse("api-search-labels", args=[finished.pk])
    asked = api.get(reverse("api-search-label-next", args=[finished.pk])).json()
    assert asked["preview"]["text"] == f"sample number {asked['item']}"
    given = api.post(labels, {"ticket": asked["ticket"], "label": "horse"}, format="json")
    assert given.status_code == 201
    assert given.json()["labels"] == 1
    assert [(row["item"], row["label"]) for row in given.json()["mine"]] == [(asked["item"], "horse")]
    shares = [row["accuracy"] for row in given.json()["standings"]]
    assert shares == sorted(shares, reverse=True)
    assert api.get(labels).json() == given.json()
    one = reverse("api-search-label", args=[finished.pk, asked["item"]])
    assert api.delete(one).json()["labels"] == 0
    assert api.delete(one).status_code == 404


def test_rest_refuses_labels_by_name_and_says_which_there_are(alice: User, finished: Search) -> None:
    api, labels = api_for(alice), reverse("api-search-labels", args=[finished.pk])
    ticket = api.get(reverse("api-search-label-next", args=[finished.pk])).json()["ticket"]
    answer = api.post(labels, {"ticket": ticket, "label": "zebra"}, format="json")
    assert answer.status_code == 422
    assert "cat, dog, horse" in answer.json()["detail"]
    assert api.post(labels, {"ticket": ticket, "label": None, "weight": 9}, format="json").status_code == 400


def test_digits_are_their_own_keys(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    """Whoever sees a 7 presses 7, and not the 8 that its place would have."""
    search = run(make_search(alice, samples, versions, labels=[str(n) for n in range(10)]))
    text = client_for(alice).get(page(search)).content.decode()
    assert 'value="7" data-label-name="7" data-key="7"' in text
    assert "data-label-find" not in text
