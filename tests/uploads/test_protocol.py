"""tus 1.0: core, creation, creation-with-upload, checksum, termination, expiration."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from tests.uploads.conftest import files_in
from tests.uploads.tusclient import TYPE, Tus, checksum, metadata
from uploads.models import Upload
from uploads.tus import CHUNK_MAX_BYTES

pytestmark = pytest.mark.django_db
DATA = bytes(range(256)) * 40


def test_options_tells_what_is_possible(client: Client, settings: Settings) -> None:
    for url in ("/uploads/", "/uploads/6a4ae1a6-5d1e-4f5c-b4dd-1d8e8e3bd2c1"):
        response = client.options(url)
        assert response.status_code == 204
        assert response["Tus-Version"] == response["Tus-Resumable"] == "1.0.0"
        assert set(response["Tus-Extension"].split(",")) == {"creation", "creation-with-upload", "checksum", "termination", "expiration"}
        assert response["Tus-Checksum-Algorithm"] == "sha256"
        assert response["Tus-Max-Size"] == str(settings.UPLOAD_MAX_BYTES)
        assert f"max-append-size={CHUNK_MAX_BYTES}" in response["Upload-Limit"]


def test_limits_can_be_read_before_choosing_files(client: Client, settings: Settings) -> None:
    limits = client.get("/uploads/").json()
    assert (limits["max_bytes"], limits["max_chunk_bytes"]) == (settings.UPLOAD_MAX_BYTES, CHUNK_MAX_BYTES)


def test_a_file_in_three_pieces(tus: Tus) -> None:
    url = tus.created(len(DATA), "data/2024/digits.npz")
    assert tus.offset(url) == 0
    for start, stop in ((0, 1), (1, 5000), (5000, len(DATA))):
        response = tus.patch(url, start, DATA[start:stop])
        assert (response.status_code, response["Upload-Offset"]) == (204, str(stop))
        assert tus.offset(url) == stop
    upload = Upload.objects.get()
    assert upload.path.read_bytes() == DATA and upload.sha256 == hashlib.sha256(DATA).hexdigest()
    assert (upload.name, upload.is_complete, upload.path.stat().st_mode & 0o777) == ("data/2024/digits.npz", True, 0o600)
    head = tus.head(url)
    assert head["Upload-Length"] == str(len(DATA)) and head["Cache-Control"] == "no-store"
    assert head["Upload-Metadata"] == metadata(filename="data/2024/digits.npz", purpose="samples")
    assert tus.get(url).json()["sha256"] == upload.sha256


def test_the_location_is_relative(tus: Tus) -> None:
    """A proxy may serve us under any prefix."""
    location = tus.create(5)["Location"]
    assert location == str(Upload.objects.get().pk) and "/" not in location


def test_an_empty_file_is_complete_at_once(tus: Tus) -> None:
    url = tus.created(0)
    assert tus.get(url).json()["complete"] and Upload.objects.get().sha256 == hashlib.sha256(b"").hexdigest()


def test_bytes_may_come_with_the_creation(tus: Tus) -> None:
    response = tus.client.post(
        "/uploads/",
        data=DATA,
        content_type=TYPE,
        headers={
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(len(DATA)),
            "Upload-Metadata": metadata(filename="a.npz", purpose="samples"),
        },
    )
    assert (response.status_code, response["Upload-Offset"]) == (201, str(len(DATA)))
    assert Upload.objects.get().path.read_bytes() == DATA


def test_a_failed_creation_with_bytes_leaves_nothing(tus: Tus, upload_dir: Path) -> None:
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "3", "Upload-Metadata": metadata(filename="a.npz", purpose="samples")}
    response = tus.client.post("/uploads/", data=DATA, content_type=TYPE, headers=headers)
    assert response.status_code == 413 and not Upload.objects.exists() and not files_in(upload_dir)


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0"])
def test_another_protocol_version_is_412(tus: Tus, version: str | None) -> None:
    url = tus.created(5)
    answers = [tus.create(5, Tus_Resumable=version), tus.patch(url, 0, b"abc", Tus_Resumable=version)]
    answers += [tus.head(url, Tus_Resumable=version), tus.delete(url, Tus_Resumable=version)]
    for response in answers:
        assert response.status_code == 412 and response["Tus-Version"] == "1.0.0"
    assert Upload.objects.get().offset == 0


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Upload_Length": None}, "Upload-Length is missing"),
        ({"Upload_Length": "-1"}, "decimal digits"),
        ({"Upload_Length": "1e9"}, "decimal digits"),
        ({"Upload_Length": "٣"}, "decimal digits"),
        ({"Upload_Length": "9" * 30}, "decimal digits"),
        ({"Upload_Length": None, "Upload_Defer_Length": "1"}, "Upload-Defer-Length"),
        ({"Upload_Metadata": None}, "filename"),
        ({"Upload_Metadata": "filename ###,purpose c2FtcGxlcw=="}, "base64"),
        ({"Upload_Metadata": "filename /w==,purpose c2FtcGxlcw=="}, "base64 of UTF-8"),
        ({"Upload_Metadata": metadata(filename="a")}, "purpose"),
        ({"Upload_Metadata": metadata(filename="a", purpose="mischief")}, "mischief"),
        ({"Upload_Metadata": metadata(filename="a", purpose="samples") + ",filename Yg=="}, "twice"),
        ({"Upload_Metadata": metadata(filename="../../etc/passwd", purpose="samples")}, "climbs"),
        ({"Upload_Metadata": metadata(filename="..\\..\\boot.ini", purpose="samples")}, "climbs"),
        ({"Upload_Metadata": metadata(filename="/./", purpose="samples")}, "empty"),
        ({"Upload_Metadata": metadata(filename="n" * 1001, purpose="samples")}, "1001 characters"),
        ({"Upload_Metadata": metadata(filename="n" * 20000, purpose="samples")}, "characters"),
    ],
)
def test_bad_creation_headers_are_400(tus: Tus, headers: dict[str, str | None], said: str, upload_dir: Path) -> None:
    response = tus.create(5, **headers)
    body = response.json()
    assert response.status_code == 400 and said in body["title"] + body["detail"]
    assert response["Content-Type"] == "application/problem+json"
    assert not Upload.objects.exists() and not files_in(upload_dir)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("C:\\data\\x.csv", "C:/data/x.csv"),
        ("/abs//x.csv", "abs/x.csv"),
        ("a/./b.csv", "a/b.csv"),
        ("x\u202ecsv.exe\n", "xcsv.exe"),
        ("Größe/日本.csv", "Größe/日本.csv"),
    ],
)
def test_names_are_labels(tus: Tus, given: str, kept: str) -> None:
    tus.created(1, given)
    assert Upload.objects.get().name == kept


def test_a_file_of_a_folder_keeps_its_place(tus: Tus) -> None:
    header = metadata(filename="7.png", filetype="", relativePath="digits/test/7.png", purpose="samples")
    assert tus.create(5, Upload_Metadata=header).status_code == 201
    assert Upload.objects.get().name == "digits/test/7.png"


@pytest.mark.parametrize("offset", [None, "-1", "abc", "0x0", ""])
def test_a_bad_offset_header_is_400(tus: Tus, offset: str | None) -> None:
    url = tus.created(5)
    assert tus.patch(url, 0, b"abc", Upload_Offset=offset).status_code == 400
    assert tus.offset(url) == 0


@pytest.mark.parametrize("offset", [0, 2, 4, 5, 99])
def test_another_offset_is_409_and_writes_nothing(tus: Tus, offset: int) -> None:
    url = tus.created(5)
    tus.patch(url, 0, b"abc")
    response = tus.patch(url, offset, b"xy")
    assert response.status_code == 409 and "byte 3" in response.json()["detail"]
    assert Upload.objects.get().path.read_bytes() == b"abc" and tus.offset(url) == 3


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain", "multipart/form-data; boundary=x"])
def test_another_content_type_is_415(tus: Tus, kind: str) -> None:
    url = tus.created(5)
    assert tus.patch(url, 0, b"abc", **{"Content-Type": kind}).status_code == 415
    assert tus.offset(url) == 0


def test_a_right_checksum_is_accepted_and_a_wrong_one_keeps_nothing(tus: Tus) -> None:
    url = tus.created(6)
    assert tus.patch(url, 0, b"abc", Upload_Checksum=checksum(b"abc")).status_code == 204
    response = tus.patch(url, 3, b"dXf", Upload_Checksum=checksum(b"def"))
    assert response.status_code == 460 and hashlib.sha256(b"dXf").hexdigest() in response.json()["detail"]
    upload = Upload.objects.get()
    assert (upload.offset, upload.path.read_bytes()) == (3, b"abc")
    assert tus.patch(url, 3, b"def", Upload_Checksum=checksum(b"def")).status_code == 204
    assert upload.path.read_bytes() == b"abcdef"


@pytest.mark.parametrize("value", ["sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", "md5 x", "sha256", "sha256 ###", "sha256 YWJj"])
def test_a_bad_checksum_header_is_400(tus: Tus, value: str) -> None:
    url = tus.created(6)
    assert tus.patch(url, 0, b"abc", Upload_Checksum=value).status_code == 400
    assert tus.offset(url) == 0


def test_more_bytes_than_announced_are_refused_whole(tus: Tus) -> None:
    url = tus.created(5)
    tus.patch(url, 0, b"ab")
    response = tus.patch(url, 2, b"cdefgh")
    assert response.status_code == 413 and "3 bytes fit" in response.json()["detail"]
    assert Upload.objects.get().path.read_bytes() == b"ab" and tus.offset(url) == 2


def test_a_request_over_the_chunk_limit_is_413_with_the_limit(tus: Tus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploads.tus.CHUNK_MAX_BYTES", 8)
    url = tus.created(100)
    response = tus.patch(url, 0, b"123456789")
    assert response.status_code == 413 and "at most 8" in response.json()["detail"] and "max-append-size=8" in response["Upload-Limit"]
    assert tus.offset(url) == 0


def test_a_file_over_the_limit_is_413_with_the_limit(tus: Tus, settings: Settings) -> None:
    settings.UPLOAD_MAX_BYTES = 10_000_000
    response = tus.create(12_300_000, "big.npz")
    assert response.status_code == 413 and response.json()["detail"] == "big.npz has 12.3\xa0MB; at most 10\xa0MB are taken."
    assert tus.create(10_000_000).status_code == 201


def test_a_file_without_room_on_the_disk_is_507(tus: Tus, settings: Settings) -> None:
    settings.UPLOAD_MAX_BYTES = 10**18
    assert tus.create(10**17).status_code == 507
    assert not Upload.objects.exists()


def test_termination_deletes_the_bytes(tus: Tus, upload_dir: Path) -> None:
    url = tus.created(5)
    tus.patch(url, 0, b"abc")
    assert tus.delete(url).status_code == 204
    assert tus.head(url).status_code == 404 and not files_in(upload_dir) and not Upload.objects.exists()
    assert tus.delete(url).status_code == 404


def test_what_is_in_use_cannot_be_terminated(tus: Tus) -> None:
    url = tus.created(0)
    Upload.objects.update(claimed=True)
    assert tus.delete(url).status_code == 409 and Upload.objects.get().path.exists()


def test_expiration_is_told_moves_with_every_piece_and_ends_in_410(tus: Tus, settings: Settings) -> None:
    settings.UPLOAD_EXPIRE_HOURS = 2
    url = tus.created(5)
    told = parsedate_to_datetime(tus.head(url)["Upload-Expires"])
    assert timedelta(hours=1, minutes=59) < told - timezone.now() <= timedelta(hours=2)
    Upload.objects.update(expires=timezone.now() + timedelta(minutes=1))
    after = tus.patch(url, 0, b"a")
    assert parsedate_to_datetime(after["Upload-Expires"]) - timezone.now() > timedelta(hours=1)
    Upload.objects.update(expires=timezone.now() - timedelta(seconds=1))
    for response in (tus.head(url), tus.patch(url, 1, b"b"), tus.get(url), tus.delete(url)):
        assert response.status_code == 410


def test_a_post_may_name_its_real_method(tus: Tus) -> None:
    url = tus.created(3)
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert tus.client.post(url, data=b"abc", content_type=TYPE, headers=headers).status_code == 204
    assert Upload.objects.get().is_complete


def test_other_methods_are_405(client: Client) -> None:
    assert client.put("/uploads/")["Allow"] == "OPTIONS, GET, POST"
    response = client.put("/uploads/6a4ae1a6-5d1e-4f5c-b4dd-1d8e8e3bd2c1")
    assert response.status_code == 405 and "PATCH" in response["Allow"]


def test_bytes_beyond_the_offset_are_overwritten(tus: Tus) -> None:
    """What a request wrote before its server died is not counted, and does not survive."""
    url = tus.created(6)
    tus.patch(url, 0, b"abc")
    path = Upload.objects.get().path
    with path.open("ab") as file:
        file.write(b"ZZZZZZZZZZ")
    assert tus.offset(url) == 3
    assert tus.patch(url, 3, b"de").status_code == 204
    assert path.read_bytes() == b"abcde"
    tus.patch(url, 5, b"f")
    assert Upload.objects.get().sha256 == hashlib.sha256(b"abcdef").hexdigest()


def test_lost_bytes_are_410(tus: Tus) -> None:
    url = tus.created(6)
    tus.patch(url, 0, b"abc")
    Upload.objects.get().path.unlink()
    assert tus.patch(url, 3, b"def").status_code == 410
