"""Claiming, expiry, orphans and the door."""

from __future__ import annotations

import io
import os
import pickle
import time
import zipfile
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from tests.uploads.conftest import files_in
from tests.uploads.tusclient import Tus
from uploads.errors import NotClaimable
from uploads.models import Purpose, Upload
from uploads.services import upload_claim, upload_create, upload_discard, upload_expire, upload_orphans_delete

pytestmark = pytest.mark.django_db
PICKLE = pickle.dumps({"weights": list(range(50_000))})


def complete(tus: Tus, name: str = "a.npz", data: bytes = b"abc", purpose: str = "samples") -> Upload:
    url = tus.created(len(data), name, purpose)
    assert tus.patch(url, 0, data).status_code == 204
    return Upload.objects.get(pk=url.rsplit("/", 1)[1])


def torch_save() -> bytes:
    """A zip as torch.save writes it; what it holds is seen in its listing, at its end."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", PICKLE)
        archive.writestr("model/data/0", os.urandom(100_000))
    return buffer.getvalue()


def test_complete_uploads_are_claimed_in_the_order_asked_for(tus: Tus, alice: User) -> None:
    first, second = complete(tus, "1.npz"), complete(tus, "2.npz")
    claimed = upload_claim([str(second.pk), first.pk], alice, Purpose.SAMPLES)
    assert [upload.name for upload in claimed] == ["2.npz", "1.npz"] and all(upload.claimed for upload in claimed)
    assert Upload.objects.filter(claimed=True).count() == 2


def test_nothing_is_claimed_unless_all_of_it_is(tus: Tus, alice: User, bob: User) -> None:
    good = complete(tus)
    half = tus.created(5, "half.npz")
    expired = complete(tus, "old.npz")
    Upload.objects.filter(pk=expired.pk).update(expires=timezone.now() - timedelta(seconds=1))
    model = complete(tus, "notes.json", b"{}", purpose="model")
    theirs = upload_create(owner=bob, purpose=Purpose.SAMPLES, name="bob.npz", size=0)
    cases = [
        (half.rsplit("/", 1)[1], "half.npz: 0 of 5 bytes"),
        (expired.pk, "old.npz"),
        (model.pk, str(model.pk)),
        (theirs.pk, str(theirs.pk)),
        (uuid4(), "never yours"),
        ("not-an-id", "not-an-id"),
    ]
    for bad, said in cases:
        with pytest.raises(NotClaimable) as raised:
            upload_claim([good.pk, bad], alice, Purpose.SAMPLES)
        assert said in raised.value.detail and raised.value.fix
    with pytest.raises(NotClaimable, match="No file was chosen"):
        upload_claim([], alice, Purpose.SAMPLES)
    assert not Upload.objects.filter(claimed=True).exists()


def test_an_upload_is_claimed_once(tus: Tus, alice: User) -> None:
    upload = complete(tus, "once.npz")
    upload_claim([upload.pk], alice, Purpose.SAMPLES)
    with pytest.raises(NotClaimable, match="in use already.*once.npz"):
        upload_claim([upload.pk], alice, Purpose.SAMPLES)


def test_claiming_thousands_asks_twice(alice: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    rows = [Upload(owner=alice, purpose=Purpose.SAMPLES, name=f"{number}.png", size=1, offset=1) for number in range(1000)]
    Upload.objects.bulk_create(rows)
    with django_assert_num_queries(4):  # savepoint, rows under lock, update, release
        upload_claim([row.pk for row in rows], alice, Purpose.SAMPLES)


def test_discarding_deletes_rows_and_bytes_even_moved_ones(tus: Tus, upload_dir: Path) -> None:
    kept, moved = complete(tus), complete(tus)
    moved.path.rename(upload_dir.parent / "elsewhere")
    upload_discard([kept, moved])
    assert not Upload.objects.exists() and not files_in(upload_dir) and (upload_dir.parent / "elsewhere").exists()


def test_expiry_spares_what_lives_and_what_is_in_use(tus: Tus, alice: User, upload_dir: Path) -> None:
    old, used, fresh = complete(tus, "old"), complete(tus, "used"), complete(tus, "fresh")
    upload_claim([used.pk], alice, Purpose.SAMPLES)
    Upload.objects.filter(pk__in=[old.pk, used.pk]).update(expires=timezone.now() - timedelta(days=1))
    assert upload_expire() == 1
    assert set(Upload.objects.values_list("name", flat=True)) == {"used", "fresh"}
    assert set(files_in(upload_dir)) == {used.path, fresh.path}
    assert upload_expire() == 0


def test_expiry_goes_on_past_one_batch(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploads.services.EXPIRE_BATCH", 2)
    past = timezone.now() - timedelta(hours=1)
    Upload.objects.bulk_create([Upload(owner=alice, purpose="samples", name="x", size=1, expires=past) for _ in range(5)])
    assert upload_expire() == 5 and not Upload.objects.exists()


def test_files_without_a_row_are_deleted_once_old(tus: Tus, alice: User, upload_dir: Path) -> None:
    kept, orphan, young = complete(tus), complete(tus), complete(tus)
    past = time.time() - 48 * 3600
    for upload in (kept, orphan):
        os.utime(upload.path, (past, past))
    Upload.objects.filter(pk__in=[orphan.pk, young.pk]).delete()
    assert upload_orphans_delete() == 1
    assert set(files_in(upload_dir)) == {kept.path, young.path}


@pytest.mark.parametrize("name", ["model.pkl", "model.onnx", "weights.safetensors"])
def test_a_pickle_is_refused_at_the_door_whatever_its_name(tus: Tus, name: str, upload_dir: Path) -> None:
    url = tus.created(len(PICKLE), name, "model")
    response = tus.patch(url, 0, PICKLE)
    body = response.json()
    assert response.status_code == 422 and body["type"] == "urn:modelshop:format_refused"
    assert name in body["detail"] and "onnx" in body["fix"]
    assert not Upload.objects.exists() and not files_in(upload_dir) and tus.head(url).status_code == 404


def test_a_large_pickle_is_refused_after_its_first_64_kib(tus: Tus, upload_dir: Path) -> None:
    url = tus.created(5 * 1024**3, "model.onnx", "model")
    assert tus.patch(url, 0, PICKLE[: 60 << 10]).status_code == 204
    assert tus.patch(url, 60 << 10, PICKLE[60 << 10 : 68 << 10]).status_code == 422
    assert not Upload.objects.exists() and not files_in(upload_dir)


def test_an_archive_is_refused_once_its_listing_is_there(tus: Tus, upload_dir: Path) -> None:
    data = torch_save()
    url = tus.created(len(data), "model.pt2", "model")
    assert tus.patch(url, 0, data[:90_000]).status_code == 204
    response = tus.patch(url, 90_000, data[90_000:])
    assert response.status_code == 422 and response.json()["type"] == "urn:modelshop:format_refused"
    assert not files_in(upload_dir)


def test_the_same_bytes_as_a_sample_are_not_looked_at_here(tus: Tus) -> None:
    assert complete(tus, "model.pkl", PICKLE, "samples").is_complete


def test_a_companion_file_of_a_model_passes_and_a_false_model_does_not(tus: Tus) -> None:
    assert complete(tus, "resnet/config.json", b'{"architectures": []}', "model").is_complete
    url = tus.created(5, "model.onnx", "model")
    response = tus.patch(url, 0, b"hello")
    assert response.status_code == 422 and response.json()["type"] == "urn:modelshop:unreadable_model"


def test_a_refusal_in_the_request_that_creates_leaves_nothing(tus: Tus, upload_dir: Path) -> None:
    response = tus.client.post(
        "/uploads/",
        data=PICKLE,
        content_type="application/offset+octet-stream",
        headers={
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(len(PICKLE)),
            "Upload-Metadata": "filename bS5vbm54,purpose bW9kZWw=",
        },
    )
    assert response.status_code == 422 and not Upload.objects.exists() and not files_in(upload_dir)
