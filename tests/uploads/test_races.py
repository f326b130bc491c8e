"""Two requests for one upload at the same time, on real transactions."""

from __future__ import annotations

import fcntl
from collections import Counter
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest
from django.db import connection

from accounts.models import User
from tests.conftest import make_user
from uploads import services
from uploads.errors import Busy, NotClaimable, OffsetConflict, UploadProblem
from uploads.models import Purpose, Upload
from uploads.services import upload_append, upload_claim, upload_create, upload_expire

pytestmark = pytest.mark.django_db(transaction=True)


class SlowBody:
    """A body that stops before its end until it is let go on."""

    def __init__(self, data: bytes) -> None:
        self.data, self.reading, self.go_on = data, Event(), Event()

    def read(self, size: int, /) -> bytes:
        self.reading.set()
        assert self.go_on.wait(20)
        data, self.data = self.data, b""
        return data


class Body:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, size: int, /) -> bytes:
        data, self.data = self.data, b""
        return data


@pytest.fixture
def owner() -> User:
    return make_user("ann")


@pytest.fixture
def upload(owner: User) -> Upload:
    return upload_create(owner=owner, purpose=Purpose.SAMPLES, name="a.bin", size=6)


def in_thread(action: object) -> Thread:
    def run() -> None:
        try:
            action()  # type: ignore[operator]
        finally:
            connection.close()

    thread = Thread(target=run)
    thread.start()
    return thread


def test_while_one_request_writes_another_is_told_so(owner: User, upload: Upload) -> None:
    slow = SlowBody(b"abc")
    thread = in_thread(lambda: upload_append(upload_id=upload.pk, owner=owner, offset=0, body=slow, sha256=None))
    assert slow.reading.wait(20)
    with pytest.raises(Busy):
        upload_append(upload_id=upload.pk, owner=owner, offset=0, body=Body(b"xyz"), sha256=None)
    with pytest.raises(Busy):
        services.upload_terminate(upload_id=upload.pk, owner=owner)
    slow.go_on.set()
    thread.join()
    upload.refresh_from_db()
    assert (upload.offset, upload.path.read_bytes()) == (3, b"abc")


def test_the_file_has_a_lock_of_its_own(owner: User, upload: Upload) -> None:
    """The row's lock is lost with its database connection; the writer behind it may still be at it."""
    with upload.path.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Busy):
            upload_append(upload_id=upload.pk, owner=owner, offset=0, body=Body(b"abc"), sha256=None)
    assert upload_append(upload_id=upload.pk, owner=owner, offset=0, body=Body(b"abc"), sha256=None).offset == 3


def test_of_many_requests_for_one_place_exactly_one_wins(owner: User, upload: Upload) -> None:
    start, results = Barrier(6), Counter[str]()

    def send(mark: bytes) -> None:
        start.wait()
        try:
            upload_append(upload_id=upload.pk, owner=owner, offset=0, body=Body(mark * 3), sha256=None)
            results["won by " + mark.decode()] += 1
        except (Busy, OffsetConflict) as error:
            results[type(error).__name__] += 1

    threads = [in_thread(lambda mark=mark: send(mark)) for mark in (b"a", b"b", b"c", b"d", b"e", b"f")]
    for thread in threads:
        thread.join()
    winners = [name for name in results if name.startswith("won by ")]
    assert len(winners) == 1 and results[winners[0]] == 1 and results.total() == 6
    upload.refresh_from_db()
    assert upload.offset == 3 and upload.path.read_bytes() == winners[0][-1:].encode() * 3


def test_expiry_leaves_alone_what_is_being_written(owner: User, upload: Upload, upload_dir: Path) -> None:
    slow = SlowBody(b"abcdef")
    thread = in_thread(lambda: upload_append(upload_id=upload.pk, owner=owner, offset=0, body=slow, sha256=None))
    assert slow.reading.wait(20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.utils.timezone.now", lambda: upload.expires.replace(year=upload.expires.year + 1))
        assert upload_expire() == 0
    slow.go_on.set()
    thread.join()
    assert upload.path.read_bytes() == b"abcdef"


def test_two_claims_at_once_give_one_owner(owner: User) -> None:
    upload = upload_create(owner=owner, purpose=Purpose.SAMPLES, name="a.bin", size=0)
    start, results = Barrier(4), Counter[str]()

    def claim() -> None:
        start.wait()
        try:
            upload_claim([upload.pk], owner, Purpose.SAMPLES)
            results["claimed"] += 1
        except NotClaimable:
            results["refused"] += 1

    threads = [in_thread(claim) for _ in range(4)]
    for thread in threads:
        thread.join()
    assert results == {"claimed": 1, "refused": 3}


def test_a_body_that_breaks_off_leaves_the_offset(owner: User, upload: Upload) -> None:
    class Broken(Body):
        def read(self, size: int, /) -> bytes:
            if not self.data:
                raise ConnectionResetError
            return super().read(size)

    with pytest.raises(ConnectionResetError):
        upload_append(upload_id=upload.pk, owner=owner, offset=0, body=Broken(b"abc"), sha256=None)
    upload.refresh_from_db()
    assert (upload.offset, upload.path.read_bytes()) == (0, b"")


def test_problems_are_told_with_a_next_step(owner: User, upload: Upload) -> None:
    with pytest.raises(UploadProblem) as raised:
        upload_append(upload_id=upload.pk, owner=owner, offset=4, body=Body(b"x"), sha256=None)
    assert "a.bin is at byte 0" in raised.value.detail and "HEAD" in raised.value.fix
