"""Labelled samples of a search given to a probe set: which of them, who may, what stands where, and taking them back."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import AuditEvent, Membership, Role, Team, User
from catalog.models import ModelVersion
from catalog.probe_models import ProbeSlice
from catalog.probes import set_key
from jobs.models import Job, JobState
from search.labelling import CannotLabel, confirmation_refresh, round_of
from search.labelling_models import Confirmation, GivenLabel
from search.labelling_probes import LEAST_ROWS, CannotGive, confirmation_give, confirmation_take_back, draw_of, gift_of
from search.models import SampleSet, Search
from search.removal import search_delete
from search.samplesets import sampleset_delete
from search.services import search_share
from tests.conftest import api_for, client_for
from tests.search.factories import make_search, run

pytestmark = pytest.mark.django_db


def label(search: Search, person: User, items: range, *, weight: float = 1.0) -> None:
    for item in items:
        GivenLabel.objects.create(search=search, person=person, item=item, label=item % 3, weight=weight)
    confirmation_refresh(search=search)


@pytest.fixture
def labelled(alice: User, finished: Search) -> Search:
    """Twenty labels from even draws, so that all of them stay."""
    label(finished, alice, range(20))
    return finished


def give_url(search: Search) -> str:
    return reverse("search:confirm_give", args=[search.pk])


def test_even_draws_all_stay_and_uneven_ones_in_part(alice: User, finished: Search) -> None:
    label(finished, alice, range(12))
    assert draw_of(round_of(finished)).document == [[item, item % 3] for item in range(12)]
    label(finished, alice, range(12, 30), weight=0.25)
    found = round_of(finished)
    draw = draw_of(found)
    assert draw.labels == 30 and len(draw.rows) < 30
    assert draw_of(round_of(finished)) == draw, "the same lot every time"
    stayed = Counter(item for lot in range(200) for item, _ in draw_of(replace(found, search=Search(pk=lot))).rows)
    assert min(stayed[item] for item in range(12)) > max(stayed[item] for item in range(12, 30))


def test_what_is_disputed_or_skipped_does_not_count(alice: User, bob: User, labelled: Search) -> None:
    GivenLabel.objects.create(search=labelled, person=bob, item=3, label=2, weight=1.0)
    GivenLabel.objects.create(search=labelled, person=alice, item=40, label=None, weight=1.0)
    items = [item for item, _ in draw_of(round_of(labelled)).rows]
    assert len(items) == 19 and 3 not in items and 40 not in items


def test_too_few_labels_say_how_many_more(alice: User, team: Team, finished: Search) -> None:
    assert draw_of(round_of(finished)).missing == LEAST_ROWS / 0.4
    label(finished, alice, range(4))
    assert draw_of(round_of(finished)).missing == 9, "six more rows, of labels of which (4 + 2) / 9 are expected to stay"
    with pytest.raises(CannotGive, match="too few"):
        confirmation_give(search=finished, team=team, actor=alice)
    page = client_for(alice).get(reverse("search:search_confirm", args=[finished.pk])).content.decode()
    assert "4 labels leave 4 such samples; 10 are needed: label about 9 more." in page and "give-team" not in page
    assert not ProbeSlice.objects.exists()


def test_giving_keeps_what_was_agreed_to(alice: User, team: Team, labelled: Search) -> None:
    piece = confirmation_give(search=labelled, team=team, actor=alice)
    row = Confirmation.objects.get(search=labelled)
    assert row.piece == piece and row.piece_rows == [[item, item % 3] for item in range(20)]
    assert (piece.version, piece.team, piece.owner, piece.given_by, piece.n) == (None, team, alice, alice, 20)
    assert piece.samples == labelled.sample_set.content_hash
    assert piece.set_key == set_key(labelled.sample_set.modality, labelled.labels, labelled.sample_set.meta)
    assert piece.features is None and piece not in ProbeSlice.objects.kept() and piece in ProbeSlice.objects.unmade()
    job = Job.objects.get(kind="catalog.probe_make")
    assert (job.subject_id, job.owner) == (piece.pk, alice) and labelled.name not in job.label
    told = {event.action: event for event in AuditEvent.objects.all()}
    assert told["probes.give"].team == team and told["probes.give"].after == {"probes": 20}
    assert labelled.name not in f"{told['probes.give'].object_label}{told['probes.give'].after}", "the team's admins read it"
    assert told["confirmation.give"].after == {"probes": 20, "team": "vision"} and told["confirmation.give"].team is None
    label(labelled, alice, range(20, 25))
    assert Confirmation.objects.get(search=labelled).piece_rows == row.piece_rows, "later labels change nothing"


def test_the_same_again_changes_nothing_and_tries_again_what_failed(alice: User, team: Team, labelled: Search) -> None:
    piece = confirmation_give(search=labelled, team=team, actor=alice)
    assert confirmation_give(search=labelled, team=team, actor=alice) == piece
    assert Job.objects.filter(kind="catalog.probe_make").count() == 1
    Job.objects.update(state=JobState.FAILED, error_title="The worker had a bad day.")
    gift = gift_of(labelled, round_of(labelled), alice)
    assert (gift.state, gift.error, gift.anew) == ("failed", "The worker had a bad day.", False)
    page = client_for(alice).get(reverse("search:search_confirm", args=[labelled.pk])).content.decode()
    assert "The worker had a bad day." in page and "Give anew" in page
    assert confirmation_give(search=labelled, team=team, actor=alice) == piece
    assert Job.objects.filter(kind="catalog.probe_make", state=JobState.QUEUED).count() == 1


def test_given_anew_it_replaces_what_was_given(alice: User, team: Team, labelled: Search) -> None:
    first = confirmation_give(search=labelled, team=team, actor=alice)
    label(labelled, alice, range(20, 25))
    assert gift_of(labelled, round_of(labelled), alice).anew
    second = confirmation_give(search=labelled, team=team, actor=alice)
    first.refresh_from_db()
    assert first.withdrawn and first.samples == "" and (second.n, second.withdrawn) == (25, None)
    assert Job.objects.get(kind="catalog.probe_make", subject_id=first.pk).state == JobState.CANCELLED
    own = alice.personal_team
    third = confirmation_give(search=labelled, team=own, actor=alice)
    second.refresh_from_db()
    assert second.withdrawn and third.team == own, "another team is another gift"
    assert list(ProbeSlice.objects.unmade()) == [third]


def test_taking_it_back(alice: User, team: Team, labelled: Search) -> None:
    piece = confirmation_give(search=labelled, team=team, actor=alice)
    page = client_for(alice).get(reverse("search:search_confirm", args=[labelled.pk])).content.decode()
    assert "A worker is taking 20 labelled samples for Vision." in page and "give-team" not in page
    assert client_for(alice).post(reverse("search:confirm_take_back", args=[labelled.pk])).status_code == 302
    piece.refresh_from_db()
    assert piece.withdrawn and piece.withdrawn_by == alice
    assert Job.objects.get().state == JobState.CANCELLED
    assert confirmation_take_back(search=labelled, actor=alice) == 0
    actions = list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))
    assert actions.count("confirmation.take_back") == actions.count("probes.withdraw") == 1
    assert confirmation_give(search=labelled, team=team, actor=alice) != piece, "it can be given again"


def test_only_into_teams_where_one_may_publish(alice: User, team: Team, labelled: Search) -> None:
    browser, api = client_for(alice), api_for(alice)
    assert browser.post(give_url(labelled), {"team": "vision\0"}).status_code == 302
    assert ProbeSlice.objects.get().team == team
    for role, slug in ((Role.VIEWER, "vision"), (None, "vision"), (None, "nowhere")):
        Membership.objects.filter(team=team, user=alice).delete()
        if role:
            Membership.objects.create(team=team, user=alice, role=role)
        assert browser.post(give_url(labelled), {"team": slug}).status_code == 404
        assert api.post(reverse("api-search-label-probes", args=[labelled.pk]), {"team": slug}).status_code == 404
    page = browser.get(reverse("search:search_confirm", args=[labelled.pk])).content.decode()
    assert "A worker is taking 20 labelled samples" in page, "who gave may take back, whatever became of their role"
    confirmation_take_back(search=labelled, actor=alice)
    assert ProbeSlice.objects.get().withdrawn


def test_only_the_owner_of_the_search_gives_and_is_told(alice: User, bob: User, team: Team, labelled: Search) -> None:
    search_share(search=labelled, team=team, actor=alice)
    Membership.objects.filter(team=team, user=bob).update(role=Role.ADMIN)
    assert client_for(bob).post(give_url(labelled), {"team": "vision"}).status_code == 404
    assert "probe set" not in client_for(bob).get(reverse("search:search_confirm", args=[labelled.pk])).content.decode()
    assert not ProbeSlice.objects.exists()


def test_samples_of_somebody_else_are_not_given_away(
    alice: User, bob: User, team: Team, versions: list[ModelVersion], samples: SampleSet
) -> None:
    search = run(make_search(bob, samples, versions))
    label(search, bob, range(20))
    Membership.objects.filter(team=team, user=bob).update(role=Role.PUBLISHER)
    with pytest.raises(CannotGive, match="belong to somebody else"):
        confirmation_give(search=search, team=team, actor=bob)
    page = client_for(bob).get(reverse("search:search_confirm", args=[search.pk])).content.decode()
    assert "The samples belong to somebody else" in page and "give-team" not in page
    SampleSet.objects.update(demo=True)
    assert confirmation_give(search=Search.objects.get(pk=search.pk), team=team, actor=bob).n == 20, "a demo set is everybody's"


def test_what_is_given_outlives_search_and_samples(alice: User, team: Team, labelled: Search) -> None:
    made = confirmation_give(search=labelled, team=team, actor=alice)
    ProbeSlice.objects.filter(pk=made.pk).update(features=b"1", row_hashes=b"1", row_labels=b"1", size_bytes=3)
    sampleset_delete(sample_set=labelled.sample_set, actor=alice)
    assert ProbeSlice.objects.get(pk=made.pk).withdrawn is None


@pytest.mark.parametrize("what", ["search", "samples"])
def test_what_no_worker_has_taken_goes_with_search_or_samples(alice: User, team: Team, labelled: Search, what: str) -> None:
    piece = confirmation_give(search=labelled, team=team, actor=alice)
    if what == "search":
        search_delete(search=labelled, actor=alice)
    else:
        sampleset_delete(sample_set=labelled.sample_set, actor=None)
    piece.refresh_from_db()
    assert piece.withdrawn and Job.objects.get(kind="catalog.probe_make").state == JobState.CANCELLED


def test_once_the_samples_are_gone_it_can_only_be_taken_back(alice: User, team: Team, labelled: Search) -> None:
    piece = confirmation_give(search=labelled, team=team, actor=alice)
    ProbeSlice.objects.filter(pk=piece.pk).update(features=b"1", row_hashes=b"1", row_labels=b"1", size_bytes=3)
    shutil.rmtree(labelled.sample_set.folder)
    with pytest.raises(CannotLabel, match="gone"):
        confirmation_give(search=labelled, team=team, actor=alice)
    page = client_for(alice).get(reverse("search:search_confirm", args=[labelled.pk])).content.decode()
    assert "20 labelled samples are in a <a" in page and "give-team" not in page and "Withdraw<span" in page
    assert api_for(alice).get(reverse("api-search-label-probes", args=[labelled.pk])).json()["refused"] == "The samples are gone."


def test_the_page_offers_and_takes(alice: User, team: Team, labelled: Search) -> None:
    browser = client_for(alice)
    page = browser.get(reverse("search:search_confirm", args=[labelled.pk])).content.decode()
    assert "20 of 20" in page and '<option value="vision"' in page and "until you withdraw them" in page
    page = browser.post(give_url(labelled), {"team": "vision"}, follow=True).content.decode()
    assert "20 labelled samples are given to Vision." in page
    ProbeSlice.objects.update(features=b"1", row_hashes=b"1", row_labels=b"1", size_bytes=3)
    page = browser.get(reverse("search:search_confirm", args=[labelled.pk])).content.decode()
    assert "models are being run on them" in page and f"/probes/vision/{ProbeSlice.objects.get().set_key}/" in page


def test_a_label_renews_what_could_be_given(alice: User, finished: Search) -> None:
    label(finished, alice, range(9))
    ask = round_of(finished).ask(alice)
    assert ask is not None
    answer = client_for(alice).post(
        reverse("search:confirm_label", args=[finished.pk]), {"ticket": ask.ticket, "label": "0"}, headers={"HX-Request": "true"}
    )
    text = answer.content.decode()
    assert 'id="confirm-use" hx-swap-oob="true"' in text and "10 labels leave" in text


def test_rest_gives_tells_and_takes_back(alice: User, team: Team, labelled: Search) -> None:
    api, url = api_for(alice), reverse("api-search-label-probes", args=[labelled.pk])
    before = api.get(url).json()
    assert (before["labels"], before["rows"], before["missing"], before["state"], before["given"]) == (20, 20, 0, "none", None)
    assert sorted(before["teams"]) == sorted(["vision", alice.personal_team.slug])
    made = api.post(url, {"team": "vision"}, format="json")
    assert made.status_code == 201 and made.json()["state"] == "making"
    assert made.json()["given"]["rows"] == 20 and made.json()["given"]["team"] == "vision"
    assert api.delete(url).json()["given"] is None


def test_the_page_takes_as_many_queries_for_many_labels(alice: User, team: Team, labelled: Search) -> None:
    confirmation_give(search=labelled, team=team, actor=alice)
    url, browser = reverse("search:search_confirm", args=[labelled.pk]), client_for(alice)

    def queries() -> int:
        browser.get(url)
        with CaptureQueriesContext(connection) as captured:
            assert browser.get(url).status_code == 200
        assert not [query["sql"] for query in captured if '"catalog_probeslice"."features"' in query["sql"].split("FROM")[0]]
        return len(captured)

    few = queries()
    label(labelled, alice, range(20, 50))
    assert queries() == few
