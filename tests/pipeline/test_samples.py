"""The check of a sample set, with the real sandbox: done, failed with a cause, killed, cancelled, deleted meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from gpuworker.pipeline import samples, sandboxed
from gpuworker.pipeline.lease import Lease, run_job
from jobs.models import Job, JobState
from jobs.services import job_cancel
from search.models import SampleSet, SampleSetState
from search.previews import previews
from search.samplesets import sampleset_create, sampleset_delete, sampleset_recheck
from tests.catalog.makers import upload
from tests.pipeline.worlds import Killed, images, kill_at_write, run_check, work
from uploads.models import Purpose

pytestmark = pytest.mark.django_db(transaction=True)


def made(owner: User, content: bytes, name: str = "shots.npz", **more: Any) -> SampleSet:
    return sampleset_create(owner=owner, uploads=[upload(owner, name, content, Purpose.SAMPLES).pk], **more)


def check_job(sample_set: SampleSet) -> Job:
    return Job.objects.get(kind="search.sampleset_check", subject_id=sample_set.pk, state=JobState.QUEUED)


def test_checked(alice: User) -> None:
    sample_set = made(alice, images(40))
    assert run_check(sample_set).state == JobState.SUCCEEDED
    sample_set.refresh_from_db()
    assert (sample_set.state, sample_set.modality, sample_set.n, sample_set.n_problems) == (SampleSetState.READY, "image", 40, 0)
    assert sample_set.signature and sample_set.content_hash and sample_set.guess["why"]
    assert all(previews(sample_set, [0, 39])) and previews(sample_set, [40]) == [None]


def test_texts_are_guessed(alice: User) -> None:
    rows = "\n".join(f"the quick brown fox number {number} jumps over the lazy dog" for number in range(30))
    sample_set = made(alice, f"text\n{rows}\n".encode(), "rows.csv")
    run_check(sample_set)
    sample_set.refresh_from_db()
    assert (sample_set.state, sample_set.modality, sample_set.n) == (SampleSetState.READY, "text", 30)


@pytest.mark.parametrize("content", [b"PK\x03\x04 not a zip", b"", b"\x93NUMPY broken"], ids=["zip", "empty", "numpy"])
def test_unreadable_files_end_with_their_cause(alice: User, content: bytes) -> None:
    sample_set = made(alice, content or b"\0")
    stored = sample_set.folder / sample_set.files.get().stored
    assert run_check(sample_set).state == JobState.FAILED
    sample_set.refresh_from_db()
    assert sample_set.state == SampleSetState.FAILED
    assert sample_set.error_title and sample_set.error_fix
    assert stored.exists(), "the file stays for another try with other options"


def test_mended_by_other_options(alice: User) -> None:
    """Read as images a table fails; read again as a table the very same file is ready, and the old error is gone."""
    table = b"a,b\n" + b"".join(b"%d,%d\n" % (number, 7 * number % 13) for number in range(40))
    sample_set = made(alice, table, "rows.csv", modality="image")
    run_check(sample_set)
    sample_set.refresh_from_db()
    assert sample_set.state == SampleSetState.FAILED and sample_set.error_title
    sampleset_recheck(sample_set=sample_set, actor=alice, modality="table")
    run_check(sample_set)
    sample_set.refresh_from_db()
    assert (sample_set.state, sample_set.n, sample_set.error_title) == (SampleSetState.READY, 40, "")


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
def test_killed_and_checked_again(alice: User, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    sample_set, twin = made(alice, images(40)), made(alice, images(40))
    run_check(twin)
    job = check_job(sample_set)
    with monkeypatch.context() as patch:
        kill_at_write(patch, 1, after=after)
        with pytest.raises(Killed):
            run_job(job.pk, job.attempt, samples.check_sampleset, samples.sampleset_ended)
    job.refresh_from_db()
    assert job.requeue()
    job.refresh_from_db()
    assert work(job).state == JobState.SUCCEEDED
    sample_set.refresh_from_db()
    twin.refresh_from_db()
    for name in ("state", "n", "content_hash", "meta", "size_bytes", "n_problems"):
        assert getattr(sample_set, name) == getattr(twin, name), name
    assert bytes(sample_set.signature) == bytes(twin.signature)
    assert sorted(path.name for path in sample_set.folder.iterdir() if path.suffix) == [
        "batch.safetensors",
        "features.safetensors",
        "previews.index.json",
        "previews.jsonl",
    ]


def test_cancelled_says_so(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    sample_set = made(alice, images(40))
    job = check_job(sample_set)
    real = Lease.progress

    def cancelled_meanwhile(self: Lease, share: float | None, text: str) -> None:
        job_cancel(job=job)
        self._cancelled.wait(10)
        real(self, share, text)

    monkeypatch.setattr(Lease, "progress", cancelled_meanwhile)
    assert work(job).state == JobState.CANCELLED
    sample_set.refresh_from_db()
    assert sample_set.state == SampleSetState.FAILED and "cancelled" in sample_set.error_title


@pytest.mark.parametrize("step", ["guess_samples", "read_samples"])
def test_deleted_while_it_is_checked(alice: User, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Nothing comes back: no row, no folder, and the job does not end as a defect."""
    sample_set = made(alice, images(40))
    job, folder = check_job(sample_set), sample_set.folder
    real = getattr(sandboxed, step)

    def deleted_meanwhile(*args: Any, **more: Any) -> Any:
        result = real(*args, **more)
        sampleset_delete(sample_set=SampleSet.objects.get(), actor=alice)
        return result

    monkeypatch.setattr(sandboxed, step, deleted_meanwhile)
    assert work(job).state == JobState.CANCELLED
    assert not folder.exists() and not SampleSet.objects.exists()
