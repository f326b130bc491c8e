"""Every page and API route of the catalog, asked by owner, team mate, outsider and nobody. A new route without a case fails."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.urls import reverse

from accounts.models import Team, User, Visibility
from catalog import services
from catalog.api.urls import urlpatterns as api_patterns
from catalog.models import ModelVersion, ReferenceSample, RegisteredModel, Signature, VersionFile, VersionState
from catalog.probe_models import ProbeSlice
from catalog.storage import blob_path
from catalog.urls import urlpatterns as page_patterns
from tests.catalog.makers import give_labelled, give_probes, image_spec, make_model, published_row
from tests.conftest import api_for, client_for

pytestmark = pytest.mark.django_db

M = ("vision", "shapes")
V = (*M, 1)
WHO = ("owner", "team mate", "outsider", "anonymous")


@dataclass(frozen=True)
class Case:
    """codes: answers for owner (admin of the team), team mate (viewer), outsider, anonymous."""

    args: tuple[Any, ...]
    method: str
    codes: tuple[int, int, int, int]
    data: Any = None


def reads(*args: Any) -> Case:
    return Case(args, "get", (200, 200, 404, 302))


def edits(*args: Any) -> Case:
    return Case(args, "get", (200, 404, 404, 302))


def posts(*args: Any, **data: Any) -> Case:
    return Case(args, "post", (302, 404, 404, 302), data)


DETAILS = {"title": "New", "task": "x", "visibility": "team"}
PAGES: dict[str, Case] = {
    "model_list": Case((), "get", (200, 200, 200, 302)),
    "model_new": Case((), "get", (200, 200, 200, 302)),
    "detect_files": Case((), "post", (200, 200, 200, 302), {}),
    "deleted_list": Case((), "get", (200, 200, 200, 302)),
    "model_detail": reads(*M),
    "model_evidence": reads(*M),
    "model_signature": reads(*M),
    "model_files": reads(*M),
    "version_list": reads(*M),
    "version_new": edits(*M),
    "model_settings": edits(*M),
    "alias_set": posts(*M, name="production", number=1),
    "alias_delete": posts(*M, "staging"),
    "model_delete": posts(*M),
    "model_restore": posts("vision", "gone"),
    "model_purge": posts("vision", "gone"),
    "version_detail": reads(*V),
    "version_recheck": edits(*V),
    "version_submit": posts(*M, 2, comment="hello"),
    "version_archive": posts(*V),
    "reference_withdraw": posts(*V),
    "file_download": Case((*V, "FILE"), "get", (200, 200, 404, 302)),
    "review_decide": Case((*M, 3), "post", (302, 404, 404, 302), {"decision": "reject", "reason": "no"}),
    "probe_set_list": Case((), "get", (200, 200, 200, 302)),
    "calibration_list": Case((), "get", (200, 200, 200, 302)),
    "probe_set": reads("vision", "KEY"),
    "labelled_withdraw": Case(("vision", "KEY", "LABELLED"), "post", (302, 404, 404, 302)),
    "probe_share": Case(("vision",), "post", (302, 403, 404, 302), {"public": "1"}),
    "review_queue": Case((), "get", (200, 200, 200, 302)),  # everybody curates their own team; see the test below
}
API: dict[str, Case] = {
    "api-models": Case((), "get", (200, 200, 200, 401)),
    "api-facets": Case((), "get", (200, 200, 200, 401)),
    "api-spec-schema": Case((), "get", (200, 200, 200, 401)),
    "api-review-queue": Case((), "get", (200, 200, 200, 401)),
    "api-model": Case(M, "get", (200, 200, 404, 401)),
    "api-model-restore": Case(("vision", "gone"), "post", (200, 404, 404, 401)),
    "api-model-purge": Case(("vision", "gone"), "post", (200, 404, 404, 401)),
    "api-aliases": Case(M, "get", (200, 200, 404, 401)),
    "api-alias": Case((*M, "production"), "put", (200, 404, 404, 401), {"version": 1}),
    "api-versions": Case(M, "get", (200, 200, 404, 401)),
    "api-version": Case(V, "get", (200, 200, 404, 401)),
    "api-version-recheck": Case(V, "post", (422, 404, 404, 401), {}),
    "api-version-submit": Case((*M, 2), "post", (200, 404, 404, 401), {}),
    "api-version-archive": Case(V, "post", (200, 404, 404, 401)),
    "api-reference-withdraw": Case(V, "post", (200, 404, 404, 401)),
    "api-signature": Case(V, "get", (200, 200, 404, 401)),
    "api-file": Case((*V, "FILE"), "get", (200, 200, 404, 401)),
    "api-version-probes": Case(V, "get", (200, 200, 404, 401)),
    "api-probe-sets": Case((), "get", (200, 200, 200, 401)),
    "api-calibrations": Case((), "get", (200, 200, 200, 401)),
    "api-probe-set": Case(("vision", "KEY"), "get", (200, 200, 404, 401)),
    "api-labelled-slice": Case(("vision", "KEY", "LABELLED"), "delete", (200, 404, 404, 401)),
    "api-probe-sharing": Case(("vision",), "put", (200, 403, 404, 401), {"public": True}),
    "api-reviews": Case((*M, 3), "post", (201, 404, 404, 401), {"decision": "reject", "reason": "no"}),
}
FURTHER: list[tuple[str, Case]] = [
    (
        "api-models",
        Case((), "post", (201, 404, 404, 401), {"team": "vision", "name": "fresh", "title": "F", "task": "t", "modality": "image"}),
    ),
    ("api-model", Case(M, "patch", (200, 404, 404, 401), {"title": "Renamed"})),
    ("api-model", Case(M, "delete", (204, 404, 404, 401))),
    ("api-alias", Case((*M, "staging"), "delete", (204, 404, 404, 401))),
    ("api-versions", Case(M, "post", (400, 404, 404, 401), {"spec": {}, "files": []})),
    ("api-reviews", Case(V, "get", (200, 200, 404, 401))),
]


@pytest.fixture
def shop(team: Team, alice: User) -> VersionFile:
    """vision/shapes: v1 published, v2 checked, v3 in review by somebody else; vision/gone: deleted."""
    model = published_row(team, alice, "shapes")
    version = model.versions.get()
    content = b"the original"
    digest = hashlib.sha256(content).hexdigest()
    blob_path(digest).write_bytes(content)
    file = VersionFile.objects.create(version=version, name="m.onnx", size=len(content), sha256=digest)
    ReferenceSample.objects.create(version=version, choice=ReferenceSample.Choice.PROBES)
    give_probes(version)
    give_labelled(team, alice, version)
    Signature.objects.create(version=version, recipe="1", content_hash="2", arrays=b"", n=3, summary={"n": 3, "true_counts": [1, 1, 1]})
    other = User.objects.create_user("author", "author@example.org")
    for number, state in ((2, VersionState.READY), (3, VersionState.IN_REVIEW)):
        ModelVersion.objects.create(
            model=model, number=number, state=state, created_by=other, format="onnx", spec=image_spec(), labels=["a", "b"]
        )
    services.alias_set(model=model, name="staging", version=version, actor=alice)
    services.model_delete(model=make_model(team, alice, "gone"), actor=alice)
    return file


def arguments(case: Case, file: VersionFile) -> list[Any]:
    labelled = ProbeSlice.objects.get(version=None)
    known = {"FILE": file.pk, "KEY": labelled.set_key, "LABELLED": labelled.pk}
    return [known.get(arg, arg) for arg in case.args]


def ask(client: Any, name: str, case: Case, file: VersionFile) -> int:
    args = arguments(case, file)
    more = {} if case.data is None else {"data": case.data}
    if name.startswith("api-") and case.method != "get":
        more["format"] = "json"
    return int(getattr(client, case.method)(reverse(name, args=args), **more).status_code)


# The owner is asked last: whoever came before was refused, so nothing has changed yet.
@pytest.mark.parametrize("name", PAGES)
def test_pages(shop: VersionFile, people: dict[str, User | AnonymousUser], name: str) -> None:
    case = PAGES[name]
    args = arguments(case, shop)
    found = []
    for who in reversed(WHO):
        response = getattr(client_for(people[who]), case.method)(reverse(f"catalog:{name}", args=args), case.data)
        found.insert(0, response.status_code)
        if who == "anonymous":
            assert response["Location"].startswith(reverse("account_login"))
    assert tuple(found) == case.codes


@pytest.mark.parametrize(("name", "case"), [*API.items(), *FURTHER], ids=lambda value: value if isinstance(value, str) else value.method)
def test_api(shop: VersionFile, people: dict[str, User | AnonymousUser], name: str, case: Case) -> None:
    found = [ask(api_for(people[who]), name, case, shop) for who in reversed(WHO)]
    assert tuple(reversed(found)) == case.codes


def test_every_route_has_a_case() -> None:
    assert {pattern.name for pattern in page_patterns} == set(PAGES)
    assert {pattern.name for pattern in api_patterns} == set(API)


def test_changing_pages_need_a_post(shop: VersionFile, alice: User) -> None:
    client = client_for(alice)
    for name, case in PAGES.items():
        if case.method == "post":
            args = arguments(case, shop)
            assert client.get(reverse(f"catalog:{name}", args=args)).status_code == 405, name


def test_outsiders_never_see_names_or_counts(shop: VersionFile, charlie: User) -> None:
    client = client_for(charlie)
    for address in ("/", "/models/", "/models/?q=shapes", "/models/?task=animals&team=vision", "/models/deleted/", "/curate/queue/"):
        text = client.get(address).content.decode()
        assert "vision/shapes" not in text and ">Shapes<" not in text, address
    listed = api_for(charlie).get("/api/models/").json()["results"]
    facets = api_for(charlie).get("/api/models/facets/").json()
    assert listed == [] and all(not facet["options"] for facet in facets)


def test_public_models_show_outsiders_only_what_was_published(shop: VersionFile, charlie: User) -> None:
    RegisteredModel.objects.filter(name="shapes").update(visibility=Visibility.PUBLIC)
    client = api_for(charlie)
    assert [row["number"] for row in client.get("/api/models/vision/shapes/versions/").json()["results"]] == [1]
    assert client.get("/api/models/vision/shapes/versions/3/").status_code == 404
    assert client_for(charlie).get("/models/vision/shapes/versions/2/").status_code == 404
    assert client.patch("/api/models/vision/shapes/", {"title": "Mine"}, format="json").status_code == 404


def test_private_models_are_hidden_from_team_mates(shop: VersionFile, bob: User, alice: User) -> None:
    RegisteredModel.objects.filter(name="shapes").update(visibility=Visibility.PRIVATE)
    assert client_for(bob).get("/models/vision/shapes/").status_code == 404
    assert client_for(alice).get("/models/vision/shapes/").status_code == 200


def test_the_download_is_the_original(shop: VersionFile, bob: User) -> None:
    response = client_for(bob).get(reverse("catalog:file_download", args=[*V, shop.pk]))
    assert b"".join(response.streaming_content) == b"the original"
    assert response["Content-Disposition"] == 'attachment; filename="m.onnx"'
    assert response["Content-Type"] == "application/octet-stream"
    assert settings.BLOB_DIR in blob_path(shop.sha256).parents


def test_the_queue_holds_only_what_one_may_decide(shop: VersionFile, alice: User, bob: User) -> None:
    link = 'href="/models/vision/shapes/versions/3/"'
    assert link in client_for(alice).get("/curate/queue/").content.decode()
    assert link not in client_for(bob).get("/curate/queue/").content.decode()
    teamless = User.objects.create_user("teamless", "t@example.org")
    assert client_for(teamless).get("/curate/queue/").status_code == 403
