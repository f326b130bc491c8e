"""Probe sets on pages and in the API: who may see and use them, what they tell, alarms, baselines of queries."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import AuditEvent, Team, User, Visibility
from catalog import services
from catalog.models import ModelVersion, ReferenceSample, RegisteredModel, VersionState
from catalog.probe_models import ProbeAnswers, ProbeSetVersion, ProbeSharing, ProbeSlice
from catalog.probes import alarms, probe_sets, standings
from jobs.models import Job, JobState
from tests.catalog.makers import LABELS, answer_probes, give_probes, image_spec, published_row
from tests.conftest import api_for, client_for, make_user

pytestmark = pytest.mark.django_db


def version_of(model: RegisteredModel) -> ModelVersion:
    return ModelVersion.objects.select_related("model__team").get(pk=model.published_version_id)


@pytest.fixture
def shop(team: Team, alice: User, dan: User) -> list[ModelVersion]:
    """Two models of alice and one of dan; alice's first and dan's gave slices that everybody answered."""
    versions = [version_of(published_row(team, owner, name)) for name, owner in (("one", alice), ("two", alice), ("three", dan))]
    for version, seed in ((versions[0], 1), (versions[2], 2)):
        piece = give_probes(version, seed=seed)
        for place, other in enumerate(versions):
            answer_probes(other, piece, 30 + 5 * place)
    return versions


def address(version: ModelVersion) -> str:
    return reverse("catalog:probe_set", args=["vision", version.probe_slice.set_key])


def test_the_page_says_what_the_set_holds(shop: list[ModelVersion], bob: User) -> None:
    page = client_for(bob).get(address(shop[0])).content.decode()
    assert "Probe set of Vision" in page and "cat, dog, fox" in page and "image-probe/1" in page
    assert "not calibrated yet" in page and "alice" in page and "dan" in page
    assert "Withdraw" not in page and "Let everybody" not in page, "bob is a viewer"
    listed = client_for(bob).get(reverse("catalog:probe_set_list")).content.decode()
    assert address(shop[0]) in listed and "in use" in listed


def test_the_owner_and_admins_are_offered_more(shop: list[ModelVersion], alice: User, dan: User) -> None:
    page = client_for(alice).get(address(shop[0])).content.decode()
    assert page.count("Withdraw<span") == 2 and "Let everybody" in page, "an admin curates all of the team's"
    assert client_for(dan).get(address(shop[0])).content.decode().count("Withdraw<span") == 1


def test_the_api_tells_the_same(shop: list[ModelVersion], bob: User) -> None:
    client = api_for(bob)
    [row] = client.get("/api/probe-sets/").json()
    assert (row["team"], row["slices"], row["rows"], row["givers"], row["behind"], row["public"]) == ("vision", 2, 120, 2, 0, False)
    found = client.get(f"/api/probe-sets/vision/{row['key']}/").json()
    assert (found["n"], found["sources"], found["labels"], found["counts"]) == (120, 2, LABELS, [40, 40, 40])
    assert [(item["version"], item["given_by"], item["used"], item["run"]) for item in found["pieces"]] == [
        ("vision/one v1", "alice", 60, "done"),
        ("vision/three v1", "dan", 60, "done"),
    ]
    rights = {item["version"]: item["accuracy"] for item in found["models"]}
    assert rights["vision/one v1"] == 30 / 60, "its own slice does not count"
    assert rights["vision/two v1"] == 35 / 60
    assert found["digest"] and found["calibration"] == []
    probes = client.get("/api/models/vision/one/versions/1/probes/").json()
    assert probes["own"]["rows"] == 60 and probes["standing"]["accuracy"] == 0.5


def calibrated(version: ModelVersion, digest: str, **table: Any) -> ProbeSetVersion:
    """What a worker stores for the choice with this digest."""
    held = {"every": 0.9125, "leaders": 0.89, "winner": 0.86}
    quantiles = {name: [0.7, 0.9, 1.1, 1.4, 1.6, 1.9, 2.4, 3.25] for name in ("every", "leaders", "pairs")}
    row = {
        "table": {**quantiles, "coverage": held, "targets": 40, "publishers": 2, **table},
        "levels": [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98],
        "models": 3,
        "answers": "",
        "made": "2026-01-02T03:04:05+00:00",
    }
    key = version.probe_slice.set_key
    pieces = list(ProbeSlice.objects.offered().filter(set_key=key).values_list("pk", flat=True))
    return ProbeSetVersion.objects.create(
        digest=digest, set_key=key, n=120, sources=2, pieces=pieces, calibration={"accuracy": row, "f1:cat": row}
    )


def test_calibration_is_shown_for_the_choice_it_was_made_with(shop: list[ModelVersion], bob: User) -> None:
    calibrated(shop[0], api_for(bob).get(f"/api/probe-sets/vision/{shop[0].probe_slice.set_key}/").json()["digest"])
    page = client_for(bob).get(address(shop[0])).content.decode()
    assert "91.2 %" in page and "86.0 %" in page and "F1 of cat" in page and "not calibrated yet" not in page
    services.reference_withdraw(version=with_reference(shop[0]), actor=bob)
    assert "not calibrated yet" in client_for(bob).get(address(shop[2])).content.decode()


CALIBRATION = "/operate/calibration/"


def test_the_calibration_page_tells_of_each_family(shop: list[ModelVersion], alice: User, bob: User) -> None:
    calibrated(shop[0], "ab" * 32)
    for person in (alice, bob):
        page = client_for(person).get(CALIBRATION).content.decode()
        assert "cat, dog, fox" in page and "91.2 %" in page and "89.0 %" in page and "86.0 %" in page and "3.25" in page
        assert "holds less often than the others" in page and "2 sources" in page
    [family] = api_for(bob).get("/api/calibrations/").json()
    assert (family["labels"], family["teams"], family["n"], family["sources"]) == (LABELS, ["vision"], 120, 2)
    first, second = family["measured"]
    assert (first["metric"], second["metric"]) == ("accuracy", "F1 of cat")
    assert (first["every"], first["leaders"], first["winner"], first["targets"], first["models"]) == (0.9125, 0.89, 0.86, 40, 3)
    assert first["quantiles"][0] == [0.5, 0.7, 0.7, 0.7] and first["quantiles"][-1] == [0.98, 3.25, 3.25, 3.25]


def test_who_may_see_calibrations(shop: list[ModelVersion], alice: User, charlie: User, client: Client) -> None:
    calibrated(shop[0], "ab" * 32)
    outside = client_for(charlie).get(CALIBRATION).content.decode()
    assert "Nothing to measure with yet" in outside and "cat, dog" not in outside
    assert api_for(charlie).get("/api/calibrations/").json() == []
    assert client.get(CALIBRATION).status_code == 302 and client.get("/api/calibrations/").status_code == 401
    services.probe_sharing_set(team=shop[0].model.team, public=True, actor=alice)
    assert "91.2 %" in client_for(charlie).get(CALIBRATION).content.decode()
    services.probe_sharing_set(team=shop[0].model.team, public=False, actor=alice)
    operator = make_user("root", is_staff=True)
    assert "91.2 %" in client_for(operator).get(CALIBRATION).content.decode(), "operators see all"


def test_calibration_before_and_without_another_source(shop: list[ModelVersion], bob: User) -> None:
    made = calibrated(shop[0], "ab" * 32, coverage={}, publishers=1)
    assert "All probes come from one source" in client_for(bob).get(CALIBRATION).content.decode()
    ProbeSetVersion.objects.filter(pk=made.pk).update(calibration={})
    assert "not measured yet" in client_for(bob).get(CALIBRATION).content.decode()
    services.reference_withdraw(version=with_reference(shop[0]), actor=bob)
    assert "Nothing to measure with yet" in client_for(bob).get(CALIBRATION).content.decode(), "what used withdrawn rows is not shown"


def with_reference(version: ModelVersion) -> ModelVersion:
    ReferenceSample.objects.create(version=version, choice=ReferenceSample.Choice.PROBES)
    return version


def test_withdrawing_over_the_page(shop: list[ModelVersion], alice: User, bob: User) -> None:
    version = with_reference(shop[0])
    target = reverse("catalog:reference_withdraw", args=["vision", "one", 1])
    assert client_for(bob).post(target).status_code == 404
    response = client_for(alice).post(target, follow=True)
    assert "Withdrawn" in response.content.decode()
    version.probe_slice.refresh_from_db()
    assert version.probe_slice.withdrawn and not version.probe_slice.answers.exists()
    assert AuditEvent.objects.get(action="reference.withdraw").actor == alice
    evidence = client_for(bob).get("/models/vision/one/evidence/").content.decode()
    assert "60 rows were given and are withdrawn" in evidence


def test_only_members_and_only_by_the_admins_will_everybody(shop: list[ModelVersion], alice: User, bob: User, charlie: User) -> None:
    assert probe_sets(charlie) == [] and len(probe_sets(bob)) == 1
    assert client_for(charlie).get(address(shop[0])).status_code == 404
    share = reverse("catalog:probe_share", args=["vision"])
    assert client_for(bob).post(share, {"public": "1"}).status_code == 403
    assert client_for(alice).post(share, {"public": "1"}).status_code == 302
    assert client_for(alice).post(share, {"public": "1"}).status_code == 302
    assert AuditEvent.objects.filter(action="probes.share").count() == 1, "nothing changed the second time"
    page = client_for(charlie).get(address(shop[0])).content.decode()
    assert "a model you may not see" in page and "vision/one" not in page and "alice" not in page and "Withdraw" not in page
    assert api_for(alice).put("/api/probe-sets/vision/", {"public": False}, format="json").json() == {"public": False}
    assert client_for(charlie).get(address(shop[0])).status_code == 404
    assert ProbeSharing.objects.get().public is False


def test_what_is_private_deleted_or_unapproved_is_in_no_set(shop: list[ModelVersion], alice: User, bob: User) -> None:
    RegisteredModel.objects.filter(name="one").update(visibility=Visibility.PRIVATE)
    assert probe_sets(bob)[0].slices == 1 and probe_sets(alice)[0].slices == 1
    services.model_delete(model=shop[2].model, actor=alice)
    assert probe_sets(bob) == []
    ModelVersion.objects.filter(pk=shop[0].pk).update(state=VersionState.IN_REVIEW, published=None)
    RegisteredModel.objects.filter(name="one").update(visibility=Visibility.TEAM)
    assert probe_sets(bob) == []


def test_a_slice_that_few_can_answer_stays_out(shop: list[ModelVersion], bob: User) -> None:
    piece = shop[0].probe_slice
    ProbeAnswers.objects.filter(piece=piece).exclude(version=shop[0]).update(log_probs=None, error="It needs 30 columns.", judged=0)
    found = api_for(bob).get(f"/api/probe-sets/vision/{piece.set_key}/").json()
    assert [item["used"] for item in found["pieces"]] == [0, 60] and found["n"] == 60
    assert "It needs 30 columns. (1 slice)" in client_for(bob).get("/models/vision/three/evidence/").content.decode()


def test_a_new_slice_is_shown_as_being_run(shop: list[ModelVersion], team: Team, dan: User, bob: User) -> None:
    late = version_of(published_row(team, dan, "late"))
    give_probes(late, seed=5, answered=False)
    services.probe_runs_start()
    page = client_for(bob).get(address(late)).content.decode()
    assert "waiting" in page and "0 of 4" in page and ">120<" in page, "what was there stays in use"
    Job.objects.filter(kind="catalog.probe_run").update(state=JobState.FAILED)
    assert "stopped" in client_for(bob).get(address(late)).content.decode()
    assert "being run" in client_for(bob).get(reverse("catalog:probe_set_list")).content.decode()


def test_runs_are_queued_for_what_is_missing_only(shop: list[ModelVersion], team: Team, dan: User) -> None:
    assert services.probe_runs_start() == 0
    newest = version_of(published_row(team, dan, "newest"))
    assert services.probe_runs_start() == 2, "it has not answered the two slices"
    assert services.probe_runs_start() == 2 and Job.objects.filter(kind="catalog.probe_run").count() == 2, "one live job each"
    for piece in ProbeSlice.objects.all():
        answer_probes(newest, piece, 5)
    Job.objects.all().delete()
    assert services.probe_runs_start() == 0


@pytest.fixture
def cheat(shop: list[ModelVersion], team: Team) -> ModelVersion:
    """Eve's model, in review: perfect on alice's slice of 200 where the others reach 80 %."""
    piece = shop[0].probe_slice
    piece.delete()
    piece = give_probes(shop[0], seed=1, n=200)
    for version in shop:
        answer_probes(version, piece, 160)
    eve = make_user("eve")
    model = published_row(team, eve, "cheat")
    version = version_of(model)
    answer_probes(version, piece, 199)
    answer_probes(version, shop[2].probe_slice, 40)
    return version


def test_a_model_too_good_on_the_probes_of_others_raises_an_alarm(
    cheat: ModelVersion, shop: list[ModelVersion], bob: User, carol: User
) -> None:
    [alarm] = alarms([piece.pk for piece in ProbeSlice.objects.all()])
    assert (alarm.version_id, alarm.piece_id) == (cheat.pk, shop[0].probe_slice.pk) and alarm.excess.best_peer == 0.8
    client = client_for(bob)
    assert "Better than is plausible" in client.get("/models/vision/cheat/evidence/").content.decode()
    assert "Better than is plausible" not in client.get("/models/vision/one/evidence/").content.decode()
    assert "vision/cheat does better than is plausible" in client.get(address(shop[0])).content.decode()
    assert api_for(bob).get("/api/models/vision/cheat/versions/1/probes/").json()["standing"]["alarms"][0]["best_peer"] == 0.8
    ModelVersion.objects.filter(pk=cheat.pk).update(state=VersionState.IN_REVIEW)
    RegisteredModel.objects.filter(pk=cheat.model_id).update(published_version=None)
    queue = client_for(carol).get("/curate/queue/").content.decode()
    assert "Better than is plausible" in queue and "Ask the author before you approve" in queue


def test_nobody_is_accused_on_rows_of_their_own(cheat: ModelVersion, shop: list[ModelVersion]) -> None:
    RegisteredModel.objects.filter(pk=cheat.model_id).update(owner=shop[0].model.owner)
    assert alarms([piece.pk for piece in ProbeSlice.objects.all()]) == []


def test_the_curator_hears_of_rows_held_by_others(shop: list[ModelVersion], team: Team, carol: User, dan: User) -> None:
    model = published_row(team, dan, "copy")
    version = version_of(model)
    ModelVersion.objects.filter(pk=version.pk).update(state=VersionState.IN_REVIEW)
    answer_probes(version, shop[0].probe_slice, 30, seen=b"\xf0" + bytes(7), judged=56)
    assert standings([version], carol)[version.pk].overlap == 4
    assert "holds 4 rows that other publishers gave" in client_for(carol).get("/curate/queue/").content.decode()
    assert "4 rows are left out" in client_for(carol).get("/models/vision/copy/evidence/?version=1").content.decode()


# Reviewed baselines; session and person are two of each page's.
QUERIES = {"list": 4, "set": 18, "evidence": 13, "api set": 15, "queue": 13, "calibration": 5}


@pytest.mark.parametrize("key", QUERIES)
def test_queries_do_not_grow_with_rows(shop: list[ModelVersion], team: Team, dan: User, carol: User, key: str) -> None:
    target = {
        "list": reverse("catalog:probe_set_list"),
        "set": address(shop[0]),
        "evidence": "/models/vision/one/evidence/",
        "api set": reverse("api-probe-set", args=["vision", shop[0].probe_slice.set_key]),
        "queue": reverse("catalog:review_queue"),
        "calibration": CALIBRATION,
    }[key]
    waiting = version_of(published_row(team, dan, "waiting"))
    ModelVersion.objects.filter(pk=waiting.pk).update(state=VersionState.IN_REVIEW)
    client = api_for(carol) if key.startswith("api") else client_for(carol)
    counts = []
    for turn in range(2):
        client.get(target)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(target).status_code == 200
        counts.append(len(queries))
        for place in range(3):
            version = version_of(published_row(team, dan, f"more-{turn}-{place}"))
            piece = give_probes(version, seed=10 + 3 * turn + place)
            for other in ModelVersion.objects.filter(state=VersionState.PUBLISHED):
                answer_probes(other, piece, 20)
    assert counts[0] == counts[1]
    assert counts[0] == QUERIES[key], "\n".join(query["sql"][:150] for query in queries)


def test_answers_never_leave_the_database_for_a_page(shop: list[ModelVersion], bob: User) -> None:
    for target in (reverse("catalog:probe_set_list"), address(shop[0]), "/models/vision/one/evidence/"):
        with CaptureQueriesContext(connection) as queries:
            client_for(bob).get(target)
        assert not [query["sql"] for query in queries if '"log_probs",' in query["sql"] or '"features"' in query["sql"]], target


def test_label_spaces_are_sets_of_their_own(shop: list[ModelVersion], team: Team, alice: User, bob: User) -> None:
    other = version_of(published_row(team, alice, "other", labels=["hot", "cold"]))
    give_probes(other, seed=7)
    turned = version_of(published_row(team, alice, "turned", labels=["FOX", "cat ", "dog"]))
    give_probes(turned, seed=8)
    assert [(row.labels, row.slices) for row in probe_sets(bob)] == [(["cat", "dog", "fox"], 3), (["cold", "hot"], 1)]
    assert image_spec()["labels"] == LABELS
