"""Publishing through the pages, and a version's page in every state."""

from __future__ import annotations

import json
import re

import pytest
from django.http import HttpResponse

from accounts.models import ApiToken, Scope, Team, User
from catalog import services
from catalog.models import ModelVersion, ReferenceSample, RegisteredModel, Signature, VersionState
from catalog.spec_form import SpecFields, as_text
from catalog.summary import MOST_BARS, bars
from gpuworker.core import input_spec
from jobs.models import Job, JobState
from tests.catalog.makers import LABELS, image_spec, make_model, make_version, onnx_bytes, published_row, reference_bytes, upload
from tests.conftest import api_for, client_for
from uploads.models import Purpose

pytestmark = pytest.mark.django_db


def form(alice: User, **changes: object) -> dict[str, object]:
    """A complete publish form, as a browser sends it."""
    model = upload(alice, "shapes.onnx", onnx_bytes())
    sample = upload(alice, "ref.npz", reference_bytes(), Purpose.REFERENCE)
    return {
        "team": "vision", "name": "Shapes", "title": "Shapes", "task": "animals", "visibility": "team", "licence": "mit",
        "model_files": [str(model.pk)], "reference_files": [str(sample.pk)], "choice": "probes", "comment": "hi", "submit_for_review": "on",
        "spec_by": "fields", "modality": "image", "labels": "cat\ndog\nfox", "output_kind": "logits",
        "image_height": "4", "image_width": "4", "image_channels": "1", "image_layout": "flat",
    } | changes  # fmt: skip


def test_a_model_is_published_through_the_form(team: Team, alice: User) -> None:
    response = client_for(alice).post("/models/new/", form(alice))
    assert isinstance(response, HttpResponse)
    assert response.status_code == 302 and response["Location"] == "/models/vision/shapes/versions/1/"
    version = ModelVersion.objects.get()
    assert version.labels == LABELS and version.spec["input"]["layout"] == "flat"
    assert version.submit_when_ready and version.comment == "hi"
    assert version.reference.choice == ReferenceSample.Choice.PROBES and version.reference.files[0]["name"] == "ref.npz"
    assert version.model.licence == "mit" and version.model.owner == alice


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": "one"}, "at least two labels"),
        ({"labels": "one\ntwo\none"}, "Two labels are the same"),
        ({"modality": "series", "series_channels": ""}, "Name at least one channel"),
        ({"modality": "table", "table_columns": " "}, "Name at least one column"),
        ({"spec_by": "json", "spec": "{"}, "not JSON"),
        ({"image_mean": "a b"}, "Write numbers with commas"),
        ({"model_files": []}, "no model file"),
        ({"model_files": ["5b1f4a9e-0000-4000-8000-000000000000"]}, "An upload is not there"),
        ({"team": "elsewhere"}, "Select a valid choice"),
        ({"name": "no spaces"}, "Use latin letters"),
        ({"reference_options": "[]"}, "JSON object"),
    ],
)
def test_a_form_with_a_mistake_says_so_and_loses_nothing(team: Team, alice: User, changes: dict[str, object], said: str) -> None:
    given = form(alice, **changes)
    response = client_for(alice).post("/models/new/", given)
    text = response.content.decode()
    assert response.status_code == 422 and said in text
    assert not RegisteredModel.objects.exists(), "no empty model is left behind"
    reference = given["reference_files"]
    assert isinstance(reference, list) and f'name="reference_files" value="{reference[0]}"' in text, "uploads stay chosen"
    assert 'value="Shapes"' in text or "shapes" in text


def test_another_persons_upload_cannot_be_used(team: Team, alice: User, bob: User) -> None:
    foreign = upload(bob, "m.onnx", onnx_bytes())
    response = client_for(alice).post("/models/new/", form(alice, model_files=[str(foreign.pk)]))
    assert response.status_code == 422
    foreign.refresh_from_db()
    assert not foreign.claimed and foreign.path.exists()


def test_a_further_version_starts_from_the_newest_spec(team: Team, alice: User) -> None:
    model = make_model(team, alice)
    make_version(model, alice)
    page = client_for(alice).get("/models/vision/shapes/versions/new/").content.decode()
    assert "&quot;layout&quot;: &quot;flat&quot;" in page
    again = form(alice, spec_by="json", spec=as_text(image_spec()))
    response = client_for(alice).post("/models/vision/shapes/versions/new/", again)
    assert response["Location"] == "/models/vision/shapes/versions/2/"


def test_uploaded_files_are_named_at_once(alice: User) -> None:
    client = client_for(alice)
    good = client.post("/models/new/detect/", {"model_files": [str(upload(alice, "m.onnx", onnx_bytes()).pk)]})
    assert b"ONNX" in good.content and b"m.onnx" in good.content
    bad = client.post("/models/new/detect/", {"model_files": [str(upload(alice, "m.onnx", b"\x80\x04\x95" + b"0" * 99).pk)]})
    assert b"not opened" in bad.content and b"torch.onnx.export" in bad.content


def test_a_checking_version_asks_for_itself_and_then_stops(team: Team, alice: User) -> None:
    version = make_version(make_model(team, alice), alice)
    client = client_for(alice)
    assert 'hx-trigger="every 2s"' in client.get(version.get_absolute_url()).content.decode()
    Job.objects.update(state=JobState.ERRORED, error_title="The worker died every time it tried this.")
    lost = client.get(version.get_absolute_url()).content.decode()
    assert "every 2s" not in lost and "The worker died every time" in lost and "Correct and check again" in lost
    ModelVersion.objects.update(state=VersionState.READY)
    ready = client.get(version.get_absolute_url()).content.decode()
    assert "every 2s" not in ready and "Submit for review" in ready


@pytest.mark.parametrize("state", VersionState.values)
def test_every_state_has_a_page(team: Team, alice: User, state: str) -> None:
    version = make_version(make_model(team, alice), alice, reference=reference_bytes())
    ModelVersion.objects.update(state=state, error_title="Broken <b>" if state == "rejected" else "")
    response = client_for(alice).get(version.get_absolute_url())
    assert response.status_code == 200
    assert "<b>" not in re.sub(r"<b>\d", "", response.content.decode()), "what a file said is never markup"


def test_recheck_through_the_page(team: Team, alice: User) -> None:
    version = make_version(make_model(team, alice), alice)
    ModelVersion.objects.update(state=VersionState.REJECTED, error_title="No")
    Job.objects.update(state=JobState.FAILED)
    given = {"spec_by": "json", "spec": json.dumps(image_spec(["a", "b", "c"])), "modality": "image", "choice": "signature_only"}
    response = client_for(alice).post(f"{version.get_absolute_url()}recheck/", given)
    assert response.status_code == 302
    version.refresh_from_db()
    assert version.state == VersionState.CHECKING and version.labels == ["a", "b", "c"] and version.error_title == ""


def test_the_signature_page_draws_and_tells(team: Team, alice: User) -> None:
    version = published_row(team, alice, "shapes").versions.get()
    summary = {
        "n": 9,
        "accuracy": 0.5,
        "recalls": [1.0, None, 0.25],
        "true_counts": [4, 0, 5],
        "predicted_counts": [9, 0, 0],
        "confidence_counts": [0] * 19 + [9],
        "ece": 0.1,
    }
    Signature.objects.create(version=version, recipe="r", content_hash="c", arrays=b"", n=9, accuracy=0.5, summary=summary)
    page = client_for(alice).get("/models/vision/shapes/signature/").content.decode()
    assert page.count('<svg viewBox="0 0 100 41"') == 4 and page.count("<table") == 4
    assert "no samples" in page and "25.0%" in page and "self-reported" in page
    body = api_for(alice).get("/api/models/vision/shapes/versions/1/signature/").json()
    assert body["summary"] == summary


def test_two_versions_are_compared(team: Team, alice: User) -> None:
    model = make_model(team, alice)
    one, two = make_version(model, alice), make_version(model, alice)
    ModelVersion.objects.filter(pk=one.pk).update(parameters=10)
    ModelVersion.objects.filter(pk=two.pk).update(parameters=2_000_000)
    page = client_for(alice).get("/models/vision/shapes/versions/?a=1&b=2").content.decode()
    assert page.count('class="differs"') == 2 and "2 M" in page


def test_bars_are_capped_and_inside_the_plot() -> None:
    drawn = bars([str(place) for place in range(200)], [float(place) for place in range(200)], as_counts=True)
    assert len(drawn) == MOST_BARS
    assert all(bar.x >= 0 and bar.x + bar.width <= 100 and bar.y >= 0 and bar.y + bar.height <= 40.001 for bar in drawn)
    assert bars(["a"], [None])[0].height == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"modality": "image", "image_mean": "0.5", "image_std": "0.25", "labels": "a, b"},
        {"modality": "text", "text_features": "64", "text_ngrams": "2,4", "labels": "neg\npos"},
        {"modality": "series", "series_window": "128", "series_channels": "ax, ay, az", "series_rate": "50", "labels": "a\nb"},
        {"modality": "table", "table_columns": "age\nincome", "labels": "a\nb"},
        {"modality": "pair", "pair_attributes": "", "labels": "no\nyes", "output_kind": "sigmoid_logit"},
        {"modality": "pair", "pair_attributes": "title, price", "labels": "no\nyes"},
    ],
)
def test_plain_fields_make_a_valid_spec(fields: dict[str, str]) -> None:
    form = SpecFields({"spec_by": "fields", "output_kind": "logits"} | fields)
    assert form.is_valid(), form.errors
    document = form.cleaned_data["spec_document"]
    assert input_spec.parse(document).to_json() == document == json.loads(as_text(document))


def test_the_api_publishes_with_a_token(team: Team, alice: User) -> None:
    _, text = ApiToken.issue(alice, name="t", scopes=[Scope.CATALOG_READ, Scope.CATALOG_WRITE], expires=None)
    client = api_for(alice)
    client.force_authenticate(None)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    made = client.post("/api/models/", {"team": "vision", "name": "api", "title": "Api", "task": "t", "modality": "image"})
    assert made.status_code == 201 and made.json()["team"] == "vision"
    sent = upload(alice, "m.onnx", onnx_bytes())
    body = {"files": [str(sent.pk)], "spec": image_spec()}
    version = client.post("/api/models/vision/api/versions/", body)
    assert version.status_code == 201, version.content
    assert version.json()["job"]["state"] == "queued" and version.json()["error"] is None
    assert client.post("/api/models/vision/api/versions/", body).json()["type"] == "urn:modelshop:upload_not_claimable"
    broken = client.post(
        "/api/models/vision/api/versions/", {"files": [str(upload(alice, "m.onnx", onnx_bytes()).pk)], "spec": {"modality": "image"}}
    )
    assert broken.status_code == 422 and broken.json()["fix"]


def test_home_shows_what_is_under_way_and_what_waits(team: Team, alice: User, carol: User, dan: User) -> None:
    version = make_version(make_model(team, dan), dan)
    ModelVersion.objects.update(state=VersionState.READY)
    services.version_submit(version=version, actor=dan)
    assert 'href="/models/vision/shapes/versions/1/"' in client_for(dan).get("/").content.decode()
    page = client_for(carol).get("/").content.decode()
    assert "1 version waits for your review." in page and "First steps" in page
