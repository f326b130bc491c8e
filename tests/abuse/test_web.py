"""The web side: what a browser or a script may send and get. Names never become paths, downloads never become pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.http import HttpResponse
from django.urls import reverse
from pytest_django.fixtures import Settings

from accounts.models import User
from catalog.models import VersionFile
from search.models import SampleSetState
from tests.abuse.stage import Stage, told
from tests.abuse.test_sample_files import picture, zip_of
from tests.catalog.makers import onnx_bytes, reference_bytes, upload
from tests.conftest import api_for, client_for
from tests.uploads.tusclient import Tus
from uploads.models import Purpose, Upload

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = b"<!doctype html><script>alert(document.cookie)</script>"


@pytest.fixture
def tus(alice: User) -> Tus:
    return Tus(client_for(alice))


def names_on_disk() -> set[str]:
    return {path.name for path in django_settings.DATA_DIR.rglob("*")}


def test_a_large_upload_that_never_comes_takes_no_disk_and_cannot_be_used(tus: Tus, alice: User) -> None:
    url = tus.created(300 << 20, "large.npz", "samples")
    assert tus.patch(url, 0, b"only this").status_code == 204
    row = Upload.objects.get()
    assert (row.offset, row.path.stat().st_size) == (9, 9) and row.path.stat().st_blocks < 100
    answer = api_for(alice).post("/api/sample-sets/", {"uploads": [str(row.pk)]}, format="json")
    assert answer.status_code in (400, 409, 422) and answer["Content-Type"] == "application/problem+json"
    assert "large.npz" in str(answer.json()) and answer.json()["fix"]


def test_more_than_was_promised_is_refused(tus: Tus) -> None:
    url = tus.created(10, "small.npz", "samples")
    assert tus.patch(url, 0, bytes(11)).status_code == 413
    assert tus.offset(url) == 0


@pytest.mark.parametrize("name", ["../../etc/cron.d/job", "/etc/passwd", "..\\..\\boot.ini", "a/../../b.png", "x\0/../y.png"])
@pytest.mark.parametrize("purpose", ["samples", "reference"])
def test_a_name_that_climbs_never_reaches_the_disk(tus: Tus, name: str, purpose: str) -> None:
    before = names_on_disk()
    response = tus.create(4, name, purpose)
    assert response.status_code in (201, 400)
    if response.status_code == 400:
        assert ".." in response.json()["detail"]
    else:
        row = Upload.objects.get()
        assert row.path.resolve().is_relative_to(Path(django_settings.UPLOAD_DIR).resolve()) and ".." not in row.name.split("/")
    assert not {"job", "passwd", "boot.ini", "b.png", "y.png"} & (names_on_disk() - before)


def test_names_inside_a_zip_never_reach_the_disk(stage: Stage) -> None:
    before = names_on_disk()
    made = stage.read({"s.zip": zip_of({"../../evil.png": picture(), "folder/kept-inside.png": picture(seed=1)})})
    assert made.state == SampleSetState.READY and made.n == 1, told(made)
    assert not {"evil.png", "kept-inside.png", "folder"} & (names_on_disk() - before)


def safe(response: HttpResponse, kind: str) -> None:
    assert response.status_code == 200
    assert response["Content-Disposition"].startswith("attachment"), response["Content-Disposition"]
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Type"].split(";")[0] == kind
    assert "default-src" in response["Content-Security-Policy"]


def test_a_kept_original_is_an_attachment_whatever_it_is_called(stage: Stage, settings: Settings) -> None:
    settings.KEEP_ORIGINAL_FILES = True
    content = onnx_bytes()
    version = stage.publish({'evil".html\r\nX-Bad: 1/model.html': content})
    file = VersionFile.objects.get(version=version)
    where = {"team": version.model.team.slug, "name": version.model.name, "number": version.number, "file_id": file.pk}
    for url in _file_urls(where):
        response = client_for(stage.owner).get(url)
        safe(response, "application/octet-stream")
        assert b"".join(response.streaming_content) == content  # type: ignore[attr-defined]
        assert "X-Bad" not in response and "\n" not in response["Content-Disposition"]


def _file_urls(where: dict[str, object]) -> list[str]:
    args = list(where.values())
    return [reverse("catalog:file_download", args=args), reverse("api-file", args=args)]


def test_exports_are_attachments(stage: Stage) -> None:
    stage.show(stage.publish(onnx_bytes(), reference=reference_bytes(), name="one"))
    search = stage.search(stage.read({"<b>=cmd|'x'!A1.npz": reference_bytes(n=8)}))
    client = client_for(stage.owner)
    safe(client.get(reverse("search:search_csv", args=[search.pk])), "text/csv")
    safe(client.get(reverse("search:search_json", args=[search.pk])), "application/json")


def test_a_page_sent_as_a_sample_is_never_served_back_as_one(stage: Stage, alice: User) -> None:
    made = stage.read({"page.png": PAGE, "fine.png": picture(), "text.txt": PAGE}, "image")
    assert made.n == 1
    for path in ("", "previews/", "problems/"):
        response = api_for(alice).get(f"/api/sample-sets/{made.pk}/{path}")
        assert response.status_code == 200 and response["Content-Type"].startswith("application/json")
        assert response["X-Content-Type-Options"] == "nosniff"
    texts = stage.read({"text.txt": PAGE}, "text")
    body = client_for(alice).get(texts.get_absolute_url()).content
    assert b"<script>alert(document.cookie)" not in body and b"&lt;script&gt;alert(document.cookie)" in body


def test_an_upload_has_no_address_to_be_fetched_from(tus: Tus, alice: User) -> None:
    row = upload(alice, "page.html", PAGE, Purpose.SAMPLES)
    response = tus.get(f"/uploads/{row.pk}")
    assert PAGE not in response.content and response["Content-Type"].startswith(("application/json", "application/problem+json"))
