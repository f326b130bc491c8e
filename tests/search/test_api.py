"""The REST API of searches: everything the pages do, in a precise schema."""

from __future__ import annotations

import pytest
from django.urls import reverse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from rest_framework.test import APIClient

from accounts.models import ApiToken, Scope, Team, User
from catalog.models import ModelVersion
from search.models import SampleSet, SampleSetState, Search, SearchState
from tests.conftest import api_for
from tests.search.factories import fail, make_search, make_version, run
from tests.search.test_samplesets import make_upload


@pytest.fixture
def api(alice: User) -> APIClient:
    return api_for(alice)


def test_from_upload_to_report(api: APIClient, alice: User, versions: list[ModelVersion]) -> None:
    upload = make_upload(alice, "mails.csv", b"text\nhello\n")
    made = api.post("/api/sample-sets/", {"uploads": [str(upload.pk)], "modality": "text", "options": {"columns": ["text"]}})
    assert made.status_code == 201, made.content
    pk = made.json()["id"]
    assert (made.json()["state"], made.json()["name"], made.json()["options"]) == ("checking", "mails", {"columns": ["text"]})
    early = api.post("/api/searches/", {"sample_set": pk})
    assert early.status_code == 422
    assert early.json()["title"] == "The sample set is not ready."
    SampleSet.objects.filter(pk=pk).update(state=SampleSetState.READY, n=40, meta={"modality": "text", "column": "text"})
    plan = api.post("/api/searches/plan/", {"sample_set": pk, "constraints": {"max_latency_ms": 3.0}}).json()
    assert (plan["candidates"], plan["left_out"]) == (["vision/animals-old"], 2)
    assert plan["excluded"][0]["key"] == "latency"
    started = api.post("/api/searches/", {"sample_set": pk, "constraints": {"max_latency_ms": 5.0}, "n_samples": 30, "name": "Mails"})
    assert started.status_code == 201, started.content
    search = Search.objects.get(pk=started.json()["id"])
    assert started.json()["counts"]["queued"] == 2
    assert started.json()["verdict"]["kind"] == "pending"
    assert api.post(f"/api/searches/{search.pk}/reports/").json()["title"] == "There is nothing to report yet."
    run(search, accuracies=(0.9, 0.8))
    snapshot = api.get(f"/api/searches/{search.pk}/").json()
    assert (snapshot["state"], snapshot["samples_done"], snapshot["constraints"]["max_latency_ms"]) == ("finished", 30, 5.0)
    rows = api.get(f"/api/searches/{search.pk}/candidates/").json()
    assert [(row["position"], row["predicted_accuracy"]) for row in rows] == [(1, 0.9), (2, 0.8)]
    report = api.post(f"/api/searches/{search.pk}/reports/").json()
    assert report["document"]["board"]["candidates"] == rows
    assert api.get(f"/api/searches/{search.pk}/reports/").json()[0]["id"] == report["id"]


def test_events_after_a_number(api: APIClient, finished: Search) -> None:
    url = f"/api/searches/{finished.pk}/events/"
    assert [event["seq"] for event in api.get(url).json()["events"]] == [1, 2]
    page = api.get(url, {"after": 1}).json()
    assert ([event["kind"] for event in page["events"]], page["last_seq"], page["more"]) == (["finished"], 2, False)
    for wrong in ("-1", "x", "9" * 40, "１"):
        refused = api.get(url, {"after": wrong})
        assert refused.status_code == 400, wrong
        assert refused["Content-Type"] == "application/problem+json"


def test_evidence_of_a_row(api: APIClient, finished: Search) -> None:
    row = finished.candidates.order_by("position")[1]
    row.prior_scores["jsd_hist"]["value"] = 0.2
    row.save()
    found = api.get(f"/api/searches/{finished.pk}/candidates/{row.pk}/").json()
    told = {item["scorer"]: item for item in found["told"]}
    assert (told["dawid_skene"]["value"], told["dawid_skene"]["grade"]) == (0.7, "predicted")
    assert (told["jsd_hist"]["value"], told["jsd_hist"]["low"], told["jsd_hist"]["grade"]) == (0.2, None, "prior")
    order = [(item["value"] is None, item["grade"] == "prior") for item in found["told"]]
    assert order == sorted(order, key=lambda place: place if not place[0] else (True, False)), (
        "what saw the samples first, what cannot tell last"
    )
    assert {plot["key"] for plot in found["plots"]} == {"history", "map", "reference", "balance"}
    assert found["calibration"] == {"n": 300, "accuracy": 0.9, "error": 0.06, "scaled": None, "temperature": 1.4}
    assert found["uncalibrated"] == ""
    assert found["n_disagreements"] == len(found["disagreements"]) or found["n_disagreements"] > 6


def test_disputed_samples_page(api: APIClient, finished: Search) -> None:
    url = f"/api/searches/{finished.pk}/disputed/"
    page = api.get(url, {"leaders": 3}).json()
    dissent = [sample["dissent"] for sample in page["samples"]]
    assert dissent == sorted(dissent, reverse=True)
    assert len(page["samples"]) == 50
    rest = api.get(url, {"leaders": 3, "start": 50}).json()["samples"]
    assert len(rest) == 10
    assert {sample["index"] for sample in (*page["samples"], *rest)} == set(range(60))


def test_stop_rerun_retry_difference(api: APIClient, alice: User, team: Team, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = make_search(alice, samples, versions)
    run(search, accuracies=(0.9, 0.8))
    row = search.candidates.order_by("position")[2]
    fail(row)
    retried = api.post(f"/api/searches/{search.pk}/candidates/{row.pk}/retry/")
    assert (retried.status_code, retried.json()["state"]) == (202, "queued")
    stopped = api.post(f"/api/searches/{search.pk}/stop/")
    assert (stopped.status_code, stopped.json()["state"]) == (202, "stopped")
    make_version(alice, team, "animals-new")
    again = api.post(f"/api/searches/{search.pk}/rerun/")
    assert (again.status_code, again.json()["rerun_of"]) == (201, search.pk)
    changed = api.get(f"/api/searches/{again.json()['id']}/difference/").json()
    assert (changed["earlier"], changed["added"], changed["gone"]) == (search.pk, ["vision/animals-new"], [])
    assert api.get(f"/api/searches/{search.pk}/difference/").status_code == 404


def test_delete_says_what_went_and_refuses_while_live(api: APIClient, alice: User, finished: Search) -> None:
    Search.objects.filter(pk=finished.pk).update(state=SearchState.RUNNING)
    refused = api.delete(f"/api/searches/{finished.pk}/")
    assert (refused.status_code, refused.json()["title"]) == (422, "The search is still running.")
    gone = api.delete(f"/api/sample-sets/{finished.sample_set_id}/").json()
    assert (gone["searches"], gone["candidates"]) == (1, 3)
    assert not Search.objects.exists()


def test_sharing_goes_to_own_teams_only(api: APIClient, team: Team, finished: Search) -> None:
    Team.objects.create(slug="strangers", name="Strangers")
    url = f"/api/searches/{finished.pk}/"
    assert api.patch(url, {"shared_with": "strangers"}).status_code == 400
    assert api.patch(url, {"shared_with": "vision"}).json()["shared_with"] == "vision"
    assert api.patch(url, {"shared_with": None}).json()["shared_with"] is None
    assert api.patch(url, {}).status_code == 400


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"sample_set": "x"}, "sample_set"),
        ({"sample_set": 1, "scorers": ["magic"]}, "scorers"),
        ({"sample_set": 1, "scorers": ["jsd_hist"]}, "scorers"),
        ({"sample_set": 1, "n_samples": 0}, "n_samples"),
        ({"sample_set": 1, "constraints": {"max_latency_ms": -1}}, "constraints"),
        ({"sample_set": 1, "constraints": {"licences": "MIT"}}, "constraints"),
        ({"sample_set": 1, "constraints": {"licence": ["MIT"]}}, "constraints"),
        ({"sample_set": 1, "sample": 2}, "sample"),
        ({"sample_set": 1, "name": "a\x00b"}, "name"),
    ],
)
def test_bad_questions_name_the_field(data: dict[str, object], field: str, api: APIClient) -> None:
    answer = api.post("/api/searches/", data)
    assert answer.status_code == 400
    assert field in answer.json()["errors"]


@pytest.mark.parametrize("options", [{"colums": ["a"]}, {"stride": 2}, {"where_column": "a"}, {"window": 0}, {"layout": "HWC"}])
def test_bad_reading_options_are_refused(options: dict[str, object], api: APIClient, samples: SampleSet) -> None:
    answer = api.post(f"/api/sample-sets/{samples.pk}/recheck/", {"options": options})
    assert answer.status_code == 400
    assert next(iter(options)) in str(answer.json()["errors"])


def test_tokens_need_the_scope_of_searches(alice: User, finished: Search) -> None:
    client = APIClient()
    for scopes, read, write in (([Scope.CATALOG_READ], 403, 403), ([Scope.SEARCH_READ], 200, 403), ([Scope.SEARCH_WRITE], 403, 202)):
        _, secret = ApiToken.issue(alice, name="t", scopes=list(scopes), expires=None)
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
        assert client.get(f"/api/searches/{finished.pk}/").status_code == read
        assert client.post(f"/api/searches/{finished.pk}/stop/").status_code == write


def test_lists_carry_their_filters(api: APIClient, finished: Search) -> None:
    assert [row["id"] for row in api.get("/api/searches/", {"state": "finished"}).json()["results"]] == [finished.pk]
    assert api.get("/api/searches/", {"state": "failed"}).json()["results"] == []
    problems = api.get(f"/api/sample-sets/{finished.sample_set_id}/problems/").json()
    assert problems[0] == {"name": "rows.csv", "reason": "Column 'text' is empty.", "row": 7}
    previews = api.get(f"/api/sample-sets/{finished.sample_set_id}/previews/", {"start": 58}).json()
    assert [item["index"] for item in previews] == [58, 59]
    assert previews[0]["sample"]["text"] == "sample number 58"


def test_the_schema_is_valid_and_describes_every_route(capsys: pytest.CaptureFixture[str]) -> None:
    schema = SchemaGenerator().get_schema(request=None, public=True)
    validate_schema(schema)
    told = capsys.readouterr().err
    assert not [line for line in told.splitlines() if "/search/" in line], told
    create = schema["components"]["schemas"]["ConstraintsRequest"]
    assert create["additionalProperties"] is False
    assert create["properties"]["max_latency_ms"]["nullable"] is True
    plan = schema["paths"][reverse("api-search-plan")]["post"]
    assert "application/json" in plan["responses"]["200"]["content"]
