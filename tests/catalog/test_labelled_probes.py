"""Slices of labelled samples in a team's probe sets: who sees whose they are, who takes them back, what the database refuses."""

from __future__ import annotations

import os
import time

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import AuditEvent, Membership, Role, Team, User
from catalog import services
from catalog.facts import CheckedSlice, LabelledSamples
from catalog.models import ModelVersion
from catalog.probe_models import ProbeSlice
from catalog.probes import alarms, choose, probe_sets
from catalog.services.reclaim import PACK_GRACE_SECONDS
from catalog.storage import labelled_folder
from jobs.models import Job, JobState
from tests.catalog.makers import LABELS, answer_probes, give_labelled, give_probes, published_row
from tests.conftest import api_for, client_for

pytestmark = pytest.mark.django_db


def version_of(team: Team, owner: User, name: str) -> ModelVersion:
    model = published_row(team, owner, name)
    return ModelVersion.objects.select_related("model__team").get(pk=model.published_version_id)


@pytest.fixture
def version(team: Team, alice: User) -> ModelVersion:
    return version_of(team, alice, "one")


@pytest.fixture
def piece(team: Team, dan: User, version: ModelVersion) -> ProbeSlice:
    """Dan's labelled samples, in the set with the slice of alice's model; answered by that."""
    given = give_labelled(team, dan, version)
    for each in (give_probes(version, seed=1), given):
        answer_probes(version, each, 15)
    return given


def page(person: User, piece: ProbeSlice) -> str:
    return client_for(person).get(reverse("catalog:probe_set", args=["vision", piece.set_key])).content.decode()


def test_members_read_whose_samples_they_are_and_others_do_not(
    piece: ProbeSlice, team: Team, alice: User, bob: User, dan: User, charlie: User
) -> None:
    assert "labelled samples of dan" in page(bob, piece) and "Withdraw<span" not in page(bob, piece)
    services.probe_sharing_set(team=team, public=True, actor=alice)
    outside = page(charlie, piece)
    assert "labelled samples of a member" in outside and "dan" not in outside.replace("danger", "")
    rows = api_for(bob).get(f"/api/probe-sets/vision/{piece.set_key}/").json()["pieces"]
    assert [(row["id"], row["labelled"], row["version"], row["given_by"], row["used"]) for row in rows] == [
        (piece.pk, True, None, "dan", 20),
        (piece.pk + 1, False, "vision/one v1", "alice", 60),
    ]
    told = api_for(charlie).get(f"/api/probe-sets/vision/{piece.set_key}/").json()["pieces"]
    assert [row["given_by"] for row in told if row["labelled"]] == [None]
    [row] = probe_sets(bob)
    assert (row.slices, row.rows, row.givers, row.labels) == (2, 80, 2, LABELS)


def test_who_gave_and_who_curates_may_take_them_back(
    piece: ProbeSlice, team: Team, alice: User, bob: User, carol: User, dan: User, charlie: User
) -> None:
    url = reverse("catalog:labelled_withdraw", args=["vision", piece.set_key, piece.pk])
    Membership.objects.filter(team=team, user=bob).update(role=Role.PUBLISHER)
    for person in (bob, charlie):
        assert client_for(person).post(url).status_code == 404
        assert api_for(person).delete(reverse("api-labelled-slice", args=["vision", piece.set_key, piece.pk])).status_code == 404
    for person in (alice, carol, dan):
        assert url in page(person, piece)
    wrong = reverse("catalog:labelled_withdraw", args=["vision", "other", piece.pk])
    assert client_for(carol).post(wrong).status_code == 404
    assert client_for(carol).post(url, follow=True).status_code == 200
    piece.refresh_from_db()
    assert (piece.withdrawn_by, piece.features, piece.row_hashes, piece.row_labels) == (carol, None, None, None)
    assert not piece.answers.exists()
    event = AuditEvent.objects.get(action="probes.withdraw")
    assert (event.team, event.before, event.after, event.object_label) == (team, {"probes": 20}, {"probes": 0}, "labelled samples of dan")
    assert client_for(carol).post(url).status_code == 404 and "labelled samples" not in page(bob, piece)


def test_who_gave_may_take_back_after_leaving_the_team(piece: ProbeSlice, team: Team, dan: User) -> None:
    Membership.objects.filter(team=team, user=dan).delete()
    url = reverse("catalog:labelled_withdraw", args=["vision", piece.set_key, piece.pk])
    answer = client_for(dan).post(url)
    assert answer["Location"] == reverse("catalog:probe_set_list"), "the set is no longer theirs to see"
    assert ProbeSlice.objects.get(pk=piece.pk).withdrawn


def test_what_a_version_gave_is_not_taken_back_here(piece: ProbeSlice, version: ModelVersion, alice: User) -> None:
    url = reverse("catalog:labelled_withdraw", args=["vision", piece.set_key, version.probe_slice.pk])
    assert client_for(alice).post(url).status_code == 404


def test_samples_of_one_set_are_one_source(piece: ProbeSlice, team: Team, bob: User, version: ModelVersion) -> None:
    again = give_labelled(team, bob, version, seed=7)
    other = give_labelled(team, bob, version, seed=8, samples="cd" * 32)
    sources = choose([piece, again, other, version.probe_slice]).sources
    assert sources[piece.pk] == sources[again.pk]
    assert len({sources[each.pk] for each in (piece, other, version.probe_slice)}) == 3


def test_nobody_is_accused_on_labelled_samples_of_their_own(team: Team, alice: User, dan: User, version: ModelVersion) -> None:
    piece = give_labelled(team, dan, version, n=200)
    for place in range(3):
        answer_probes(version_of(team, alice, f"peer-{place}"), piece, 160)
    cheat = version_of(team, dan, "cheat")
    answer_probes(cheat, piece, 199)
    assert alarms([piece.pk]) == []
    ProbeSlice.objects.update(owner=alice)
    assert [alarm.version_id for alarm in alarms([piece.pk])] == [cheat.pk]


def test_models_of_whoever_gave_are_measured_on_them_too(piece: ProbeSlice, version: ModelVersion, bob: User) -> None:
    """What stands as right on the slices of others: alice's own slice does not count, dan's samples do."""
    told = api_for(bob).get(f"/api/probe-sets/vision/{piece.set_key}/").json()["models"]
    assert [(row["version"], row["judged"], row["accuracy"]) for row in told] == [("vision/one v1", 20, 0.75)]


def samples(n: int = 12) -> LabelledSamples:
    return LabelledSamples("image", LABELS, {"modality": "image"}, "ef" * 32, n, "/searches/1/confirm/")


def checked(n: int) -> CheckedSlice:
    return CheckedSlice("", {"modality": "image"}, "image-probe/1", n, bytes(8 * n), bytes(16 * n), bytes(2 * n), 100)


def test_given_they_wait_for_a_worker_and_then_for_the_models(team: Team, dan: User, bob: User, version: ModelVersion) -> None:
    piece = services.labelled_slice_give(team=team, actor=dan, given=samples())
    assert probe_sets(bob) == [] and services.probe_runs_start() == 0, "there are no rows yet"
    assert Job.objects.get(kind="catalog.probe_make").subject_id == piece.pk
    assert services.labelled_slice_apply(piece=piece, checked=checked(11))
    piece.refresh_from_db()
    assert (piece.n, piece.size_bytes) == (11, 100 + 26 * 11)
    assert Job.objects.get(kind="catalog.probe_run").subject_id == piece.pk
    assert [row.behind for row in probe_sets(bob)] == [1]
    assert not services.labelled_slice_apply(piece=piece, checked=checked(9)), "once"


def test_what_a_worker_takes_too_late_is_not_kept(team: Team, dan: User, version: ModelVersion) -> None:
    piece = services.labelled_slice_give(team=team, actor=dan, given=samples())
    services.labelled_slice_withdraw(piece=piece, actor=dan)
    assert Job.objects.get().state == JobState.CANCELLED
    assert not services.labelled_slice_apply(piece=piece, checked=checked(12))
    assert ProbeSlice.objects.get().features is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": ""},
        {"features": None},
        {"row_labels": None},
        {"withdrawn": "2026-01-01T00:00:00Z"},
        {"withdrawn": "2026-01-01T00:00:00Z", "samples": ""},
        {"features": None, "row_hashes": None, "row_labels": None, "withdrawn": "2026-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_the_database_refuses_halves_of_labelled_slices(piece: ProbeSlice, wrong: dict[str, object]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        ProbeSlice.objects.filter(pk=piece.pk).update(**wrong)


@pytest.mark.parametrize("wrong", [{"samples": "ab"}, {"features": None, "row_hashes": None, "row_labels": None}], ids=str)
def test_the_database_refuses_versions_with_samples_or_without_rows(version: ModelVersion, wrong: dict[str, object]) -> None:
    give_probes(version)
    with pytest.raises(IntegrityError), transaction.atomic():
        ProbeSlice.objects.update(**wrong)


def test_files_of_slices_that_are_gone_are_swept(piece: ProbeSlice) -> None:
    """Left by a kill between the file and the row, or by the end of a person's account."""
    long_ago = time.time() - PACK_GRACE_SECONDS - 60
    for more, age in ((0, long_ago), (100, long_ago), (200, time.time())):
        pk = piece.pk + more
        labelled_folder(pk).mkdir(parents=True)
        (labelled_folder(pk) / "probes.safetensors").write_bytes(b"rows")
        os.utime(labelled_folder(pk), (age, age))
    assert services.catalog_sweep() == 4
    assert [labelled_folder(piece.pk + more).exists() for more in (0, 100, 200)] == [True, False, True]
    services.labelled_slice_withdraw(piece=piece, actor=None)
    assert not labelled_folder(piece.pk).exists()


def test_queries_do_not_grow_with_labelled_slices(piece: ProbeSlice, team: Team, dan: User, bob: User, version: ModelVersion) -> None:
    url, browser = reverse("catalog:probe_set", args=["vision", piece.set_key]), client_for(bob)

    def queries() -> int:
        browser.get(url)
        with CaptureQueriesContext(connection) as captured:
            browser.get(url)
        return len(captured)

    few = queries()
    for seed in range(3):
        answer_probes(version, give_labelled(team, dan, version, seed=200 + seed, samples=f"{seed}" * 64), 9)
    assert queries() == few
