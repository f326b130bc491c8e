"""Sample sets: making, reading again, keeping, sharing, deleting with all that derives from them."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent, Team, User
from gpuworker.core.errors import UserError
from jobs.models import Job, JobState
from search.dispatch import SAMPLESET_CHECK, SEARCH_RUN
from search.models import Candidate, PredictionChunk, Report, SampleFile, SampleSet, SampleSetState, Search, SearchEvent
from search.samplesets import (
    ORPHAN_SECONDS,
    BadSampleSet,
    sampleset_create,
    sampleset_delete,
    sampleset_expire,
    sampleset_footprint,
    sampleset_recheck,
    sampleset_retain,
)
from search.services import search_start
from tests.conftest import client_for
from tests.search.factories import make_report, make_sampleset
from uploads.models import Purpose, Upload


def make_upload(owner: User, name: str, data: bytes, *, purpose: str = Purpose.SAMPLES, complete: bool = True) -> Upload:
    upload = Upload.objects.create(owner=owner, purpose=purpose, name=name, size=len(data), offset=len(data) if complete else 0)
    upload.path.parent.mkdir(parents=True, exist_ok=True)
    upload.path.write_bytes(data)
    return upload


@pytest.mark.django_db(transaction=True)
def test_create_takes_the_files_and_queues_the_check(alice: User) -> None:
    uploads = [make_upload(alice, f"photos/{name}.png", name.encode()) for name in ("one", "two")]
    made = sampleset_create(owner=alice, uploads=[upload.pk for upload in uploads], modality="image")
    assert (made.name, made.state, made.size_bytes, made.modality) == ("photos", SampleSetState.CHECKING, 6, "image")
    stored = {file.name: (made.folder / file.stored).read_bytes() for file in made.files.all()}
    assert stored == {"photos/one.png": b"one", "photos/two.png": b"two"}
    assert not Upload.objects.exists()
    assert not any(upload.path.exists() for upload in uploads)
    assert Job.objects.filter(kind=SAMPLESET_CHECK, subject_id=made.pk, state=JobState.QUEUED, owner=alice).count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fault", ["incomplete", "of another", "for models", "used twice"])
def test_what_cannot_be_taken_leaves_nothing_behind_and_loses_nothing(fault: str, alice: User, bob: User) -> None:
    good = make_upload(alice, "good.txt", b"good")
    other = make_upload(
        bob if fault == "of another" else alice,
        "other.txt",
        b"other",
        purpose=Purpose.MODEL if fault == "for models" else Purpose.SAMPLES,
        complete=fault != "incomplete",
    )
    if fault == "used twice":
        Upload.objects.filter(pk=other.pk).update(claimed=True)
    before = set(settings.SAMPLE_DIR.iterdir())
    with pytest.raises(UserError):
        sampleset_create(owner=alice, uploads=[good.pk, other.pk])
    assert not SampleSet.objects.exists()
    assert set(settings.SAMPLE_DIR.iterdir()) == before
    good.refresh_from_db()
    assert not good.claimed
    assert good.path.read_bytes() == b"good"


@pytest.mark.django_db(transaction=True)
def test_a_failure_after_the_files_were_taken_undoes_it(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = make_upload(alice, "rows.csv", b"text\nhello\n")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(SampleFile.objects, "bulk_create", full)
    before = set(settings.SAMPLE_DIR.iterdir())
    with pytest.raises(OSError):
        sampleset_create(owner=alice, uploads=[upload.pk])
    assert set(settings.SAMPLE_DIR.iterdir()) == before
    assert upload.path.read_bytes() == b"text\nhello\n"
    assert not Upload.objects.get().claimed


def test_unknown_kind_and_no_files_are_refused(alice: User) -> None:
    with pytest.raises(BadSampleSet, match="at least one file"):
        sampleset_create(owner=alice, uploads=[])
    with pytest.raises(BadSampleSet, match="Unknown kind"):
        sampleset_create(owner=alice, uploads=["x"], modality="smell")


def test_recheck_forgets_the_old_reading(alice: User, samples: SampleSet) -> None:
    read = sampleset_recheck(sample_set=samples, actor=alice, modality="table", options={"columns": ["a"]})
    read.refresh_from_db()
    assert read.pk == samples.pk
    assert (read.state, read.modality, read.options) == (SampleSetState.CHECKING, "table", {"columns": ["a"]})
    assert (read.n, read.problems, read.signature, read.content_hash) == (0, [], None, "")
    with pytest.raises(BadSampleSet, match="being checked"):
        sampleset_recheck(sample_set=samples, actor=alice)


def test_recheck_keeps_what_searches_rest_on(alice: User, finished: Search) -> None:
    old = finished.sample_set
    read = sampleset_recheck(sample_set=old, actor=alice, options={"limit": 5})
    old.refresh_from_db()
    assert read.pk != old.pk
    assert (old.state, old.n) == (SampleSetState.READY, 60)
    assert finished.candidates.filter(samples_done=60).count() == 3
    assert [(read.folder / file.stored).read_bytes() for file in read.files.all()] == [b"text\nhello\n"]
    assert read.size_bytes == old.size_bytes


def test_retention_stays_within_its_limits(alice: User, samples: SampleSet) -> None:
    day = timedelta(days=1)
    sampleset_retain(sample_set=samples, until=timezone.now() + 3 * day, actor=alice)
    samples.refresh_from_db()
    assert samples.retain_until is not None and samples.retain_until - timezone.now() < 4 * day
    for wrong in (timezone.now() - day, timezone.now() + (settings.SAMPLE_RETENTION_DAYS + 2) * day):
        with pytest.raises(BadSampleSet, match="out of range"):
            sampleset_retain(sample_set=samples, until=wrong, actor=alice)


@pytest.mark.django_db(transaction=True)
def test_delete_takes_all_that_derives_from_it(alice: User, bob: User, team: Team, finished: Search) -> None:
    sample_set = finished.sample_set
    make_report(finished)
    kept = make_sampleset(alice, "Kept")
    sample_set.shared_with = team
    sample_set.save()
    theirs = search_start(owner=bob, sample_set=sample_set)
    expected = sampleset_footprint(sample_set)
    assert (expected.searches, expected.others_searches, expected.reports, expected.files) == (2, 1, 1, 1)
    assert expected.bytes > 3 * 60 * 3 * 2
    folder = sample_set.folder
    gone = sampleset_delete(sample_set=sample_set, actor=alice)
    assert gone == expected
    for model in (Search, Candidate, PredictionChunk, SearchEvent, Report):
        assert not model.objects.exists(), model
    assert list(SampleSet.objects.all()) == [kept]
    assert list(SampleFile.objects.values_list("sample_set", flat=True)) == [kept.pk]
    assert not folder.exists()
    assert kept.folder.exists()
    assert Job.objects.get(kind=SEARCH_RUN, subject_id=theirs.pk).state == JobState.CANCELLED
    assert AuditEvent.objects.get(action="sampleset.delete").before["bytes"] == expected.bytes


@pytest.mark.django_db(transaction=True)
def test_expire_deletes_past_the_date_only(alice: User) -> None:
    past = make_sampleset(alice, "Past", retain_until=timezone.now() - timedelta(minutes=1))
    forever = make_sampleset(alice, "Forever", retain_until=None)
    future = make_sampleset(alice, "Future")
    assert len(sampleset_expire()) == 1
    assert set(SampleSet.objects.all()) == {forever, future}
    assert not past.folder.exists()
    assert sampleset_expire() == []


@pytest.mark.django_db(transaction=True)
def test_expire_sweeps_folders_without_a_row(alice: User) -> None:
    kept = make_sampleset(alice)
    old, fresh, foreign = (settings.SAMPLE_DIR / name for name in ("900001", "900002", "not-a-number"))
    for folder in (old, fresh, foreign):
        folder.mkdir(exist_ok=True)
    age(old), age(foreign), age(kept.folder)
    sampleset_expire()
    assert (old.exists(), fresh.exists(), foreign.exists(), kept.folder.exists()) == (False, True, True, True)
    fresh.rmdir(), foreign.rmdir()


def age(folder: Path) -> None:
    then = time.time() - ORPHAN_SECONDS - 60
    os.utime(folder, (then, then))


def test_a_demo_set_belongs_to_everybody_so_that_nobody_changes_it(alice: User) -> None:
    shown = make_sampleset(alice, "Demo digits", demo=True)
    client = client_for(alice)
    page = client.get(shown.get_absolute_url()).content.decode()
    assert "cannot be changed" in page and "Read them differently" not in page and "Keep until" not in page
    for name in ("sampleset_delete", "sampleset_extend", "sampleset_share", "sampleset_options"):
        assert client.post(reverse(f"search:{name}", args=[shown.pk])).status_code == 404, name
    assert SampleSet.objects.filter(pk=shown.pk).exists()
