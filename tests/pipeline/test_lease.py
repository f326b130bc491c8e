"""Claim, keep, lose, hand back: at most one attempt at a job writes, and none is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg2
import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.utils import timezone

from accounts.models import User
from gpuworker.core.errors import UserError
from gpuworker.pipeline.intake import intake
from gpuworker.pipeline.lease import BROKEN, Cancelled, Lease, LeaseLost, run_job, stopping, worker_name
from jobs.models import Job, JobState, Worker
from jobs.services import job_cancel, job_requeue, job_sweep

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def job() -> Job:
    return Job.objects.create(kind="test.work", subject_id=1, label="work", lease_until=timezone.now() + timedelta(seconds=60))


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "JOB_LEASE_SECONDS", 0.8)


@pytest.fixture
def ending() -> Iterator[Callable[[], None]]:
    """Call it to ask this worker process to end."""
    yield stopping.set
    stopping.clear()


@pytest.fixture
def switched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How this process's intake of messages was turned, and whether the broker had been told anything by then."""
    turns: list[str] = []
    before = messages()

    def turn(*, on: bool) -> None:
        turns.append(f"{'on' if on else 'off'}, with {'no' if messages() == before else 'a'} message sent yet")

    monkeypatch.setattr(intake, "turn", turn)
    return turns


def messages() -> int:
    return len(list((settings.DATA_DIR / "queue").glob("*.msg")))


def until(look: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Endings(list[tuple[JobState, UserError | None]]):
    def __call__(self, lease: Lease, state: JobState, error: UserError | None) -> None:
        assert connection.in_atomic_block, "the subject ends in the job's final transaction"
        self.append((state, error))


def unreached(lease: Lease) -> None:
    raise AssertionError("this work must not start")


def taken_over(job: Job, worker: str = "other:1") -> Job:
    """Another worker has the job now."""
    again = Job.objects.get(pk=job.pk)
    assert again.requeue()
    found = Job.claim(again.pk, again.attempt + 1, worker)
    assert found is not None
    return found


def test_done(job: Job) -> None:
    seen, endings = [], Endings()

    def work(lease: Lease) -> None:
        seen.append(Job.objects.get(pk=job.pk).worker)
        lease.progress(0.5, "half")

    run_job(job.pk, 1, work, endings)
    job.refresh_from_db()
    assert (seen, job.state, job.progress, endings) == ([worker_name()], JobState.SUCCEEDED, 1.0, [(JobState.SUCCEEDED, None)])
    assert job.started and job.finished


@pytest.mark.parametrize("change", [{"attempt": 2}, {"state": JobState.RUNNING}, {"state": JobState.CANCELLED}, {"cancel_requested": True}])
def test_a_stale_message_does_nothing(job: Job, change: dict[str, object]) -> None:
    Job.objects.filter(pk=job.pk).update(**change)
    before = Job.objects.filter(pk=job.pk).values().get()
    run_job(job.pk, 1, unreached)
    assert Job.objects.filter(pk=job.pk).values().get() == before


def test_a_doubled_message_works_once(job: Job) -> None:
    runs = []
    for _ in range(2):
        run_job(job.pk, 1, lambda lease: runs.append(1))
    assert runs == [1]


def test_a_draining_worker_passes_it_on_and_takes_no_more(job: Job, switched: list[str]) -> None:
    """The message is with the others at once, not when the lease of the waiting job runs out."""
    Worker.objects.create(name=worker_name(), draining=True)
    before = messages()
    run_job(job.pk, 1, unreached)
    job.refresh_from_db()
    assert (job.state, job.attempt) == (JobState.QUEUED, 1)
    assert switched == ["off, with no message sent yet"] and messages() == before + 1
    run_job(job.pk, 7, unreached)
    assert messages() == before + 1, "a stale message ends here"


def test_an_error_of_the_person_is_told_with_its_cause(job: Job) -> None:
    endings = Endings()

    def work(lease: Lease) -> None:
        raise UserError("Row 7 is empty.", detail="Column b.", fix="Fill it.")

    run_job(job.pk, 1, work, endings)
    job.refresh_from_db()
    assert (job.state, job.error_title, job.error_detail, job.error_fix) == (JobState.FAILED, "Row 7 is empty.", "Column b.", "Fill it.")
    assert endings[0][0] == JobState.FAILED


def test_a_defect_is_told_without_its_inside(job: Job) -> None:
    endings = Endings()

    def work(lease: Lease) -> None:
        raise RuntimeError("secret /path")

    run_job(job.pk, 1, work, endings)
    job.refresh_from_db()
    assert (job.state, job.error_title) == (JobState.ERRORED, BROKEN.title)
    assert "secret" not in job.error_title + job.error_detail + job.error_fix
    assert endings == [(JobState.ERRORED, BROKEN)]


def test_the_lease_is_kept_while_one_step_lasts(job: Job, short_lease: None) -> None:
    def work(lease: Lease) -> None:
        first = Job.objects.get(pk=job.pk).lease_until
        until(lambda: Job.objects.get(pk=job.pk).lease_until > first + timedelta(seconds=1.6))
        assert job_sweep() == []

    run_job(job.pk, 1, work)
    job.refresh_from_db()
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)


def test_a_lost_lease_writes_nothing_and_ends_nothing(job: Job) -> None:
    endings = Endings()

    def work(lease: Lease) -> None:
        taken_over(job)
        with pytest.raises(LeaseLost), lease.write():
            raise AssertionError("the block must not be entered")
        with pytest.raises(LeaseLost):
            lease.progress(0.5, "mine?")
        lease.check()

    run_job(job.pk, 1, work, endings)
    job.refresh_from_db()
    assert (job.state, job.attempt, job.worker, job.progress_text, endings) == (JobState.RUNNING, 2, "other:1", "", [])


def test_a_lease_lost_unnoticed_does_not_end_the_job_of_the_next(job: Job) -> None:
    endings = Endings()
    run_job(job.pk, 1, lambda lease: taken_over(job) and None, endings)
    job.refresh_from_db()
    assert (job.state, job.worker, endings) == (JobState.RUNNING, "other:1", [])


def test_the_keeper_notices_that_the_lease_is_lost(job: Job, short_lease: None) -> None:
    def work(lease: Lease) -> None:
        taken_over(job)
        with pytest.raises(LeaseLost):
            until(lease.check)

    run_job(job.pk, 1, work)


def test_a_write_is_whole_or_nothing(job: Job, alice: User) -> None:
    def work(lease: Lease) -> None:
        with pytest.raises(ZeroDivisionError), lease.write():
            User.objects.filter(pk=alice.pk).update(first_name="half")
            raise ZeroDivisionError
        with lease.write():
            User.objects.filter(pk=alice.pk).update(last_name="whole")

    run_job(job.pk, 1, work)
    alice.refresh_from_db()
    assert (alice.first_name, alice.last_name) == ("", "whole")


def test_nobody_takes_the_job_during_a_write(job: Job) -> None:
    """The row is held until the commit: a sweeper on another connection has to wait."""

    def work(lease: Lease) -> None:
        with lease.write():
            other = psycopg2.connect(**{key: connection.get_connection_params()[key] for key in ("dbname", "user", "host")})
            try:
                with other.cursor() as cursor, pytest.raises(psycopg2.errors.LockNotAvailable):
                    cursor.execute("SELECT 1 FROM jobs_job WHERE id = %s FOR UPDATE NOWAIT", (job.pk,))
            finally:
                other.close()

    run_job(job.pk, 1, work)
    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED


def test_cancelled(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen long before a renewal would be due."""
    monkeypatch.setattr(settings, "JOB_LEASE_SECONDS", 3600)
    endings = Endings()

    def work(lease: Lease) -> None:
        job_cancel(job=job)
        with pytest.raises(Cancelled):
            until(lease.check)
        with pytest.raises(Cancelled), lease.write():
            pass
        with lease.write(last=True):
            Job.objects.filter(pk=job.pk).update(label="the last word")
        lease.check()

    run_job(job.pk, 1, work, endings)
    job.refresh_from_db()
    assert (job.state, job.label, endings) == (JobState.CANCELLED, "the last word", [(JobState.CANCELLED, None)])


def test_a_worker_that_ends_hands_back_at_once(job: Job, ending: Callable[[], None]) -> None:
    endings = Endings()

    def work(lease: Lease) -> None:
        ending()
        lease.check()

    run_job(job.pk, 1, work, endings)
    job.refresh_from_db()
    assert (job.state, job.attempt, job.worker, endings) == (JobState.QUEUED, 2, "", [])
    assert Job.claim(job.pk, 2, "other:1") is not None


def test_handing_back_is_no_death(job: Job, ending: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Upgrades may stop any number of workers in the middle of a long job; only those that died without a word count."""
    monkeypatch.setattr(settings, "JOB_MAX_ATTEMPTS", 2)

    def work(lease: Lease) -> None:
        ending()
        lease.check()

    for attempt in range(1, 6):
        stopping.clear()
        run_job(job.pk, attempt, work)
    stopping.clear()
    for attempt, ended in ((6, JobState.QUEUED), (7, JobState.ERRORED)):
        assert Job.claim(job.pk, attempt, "dies:1") is not None
        Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
        job_sweep()
        job.refresh_from_db()
        assert job.state == ended
    assert "2 workers died" in job.error_detail


def test_a_worker_that_ends_passes_messages_on(job: Job, ending: Callable[[], None], switched: list[str]) -> None:
    """Also the one about the job it has just handed back: no attempt is used up, and the message is not swallowed."""
    before = messages()
    ending()
    run_job(job.pk, 1, unreached)
    job.refresh_from_db()
    assert (job.state, job.attempt) == (JobState.QUEUED, 1)
    assert switched == ["off, with no message sent yet"] and messages() == before + 1


def test_whatever_breaks_while_the_worker_ends_is_handed_back_too(job: Job, ending: Callable[[], None]) -> None:
    def work(lease: Lease) -> None:
        ending()
        raise RuntimeError("the sandbox went first")

    run_job(job.pk, 1, work)
    job.refresh_from_db()
    assert (job.state, job.attempt) == (JobState.QUEUED, 2)


def test_a_worker_that_ends_does_not_hand_back_what_is_another_s(job: Job, ending: Callable[[], None]) -> None:
    def work(lease: Lease) -> None:
        taken_over(job)
        ending()
        lease.check()

    run_job(job.pk, 1, work)
    job.refresh_from_db()
    assert (job.state, job.attempt, job.worker) == (JobState.RUNNING, 2, "other:1")


def test_handing_back_wins_against_a_renewal(job: Job, ending: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper renews between the look and the hand-over: the job still goes back."""
    real = Job.refresh_from_db

    def renewed_meanwhile(self: Job, *args: object, **more: object) -> None:
        real(self, *args, **more)  # type: ignore[arg-type]
        other = psycopg2.connect(**{key: connection.get_connection_params()[key] for key in ("dbname", "user", "host")})
        try:
            with other, other.cursor() as cursor:
                cursor.execute("SET lock_timeout = '200ms'")
                cursor.execute("UPDATE jobs_job SET lease_until = lease_until + interval '1 second' WHERE id = %s", (self.pk,))
        except psycopg2.errors.LockNotAvailable:
            pass
        finally:
            other.close()

    def work(lease: Lease) -> None:
        monkeypatch.setattr(Job, "refresh_from_db", renewed_meanwhile)
        ending()
        lease.check()

    run_job(job.pk, 1, work)
    monkeypatch.undo()
    assert Job.objects.values_list("state", "attempt").get(pk=job.pk) == (JobState.QUEUED, 2)


def test_an_outage_leaves_the_job_to_the_sweeper(job: Job, short_lease: None) -> None:
    endings = Endings()

    def cut(lease: Lease) -> None:
        with connection.cursor() as cursor, pytest.raises(OperationalError):
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        with lease.write():
            raise AssertionError("there is no connection to write with")

    run_job(job.pk, 1, cut, endings)
    found = Job.objects.get(pk=job.pk)
    assert (found.state, found.attempt, endings) == (JobState.RUNNING, 1, [])
    until(lambda: [again.pk for again in job_sweep()] == [job.pk])
    run_job(job.pk, 2, lambda lease: None, endings)
    assert endings == [(JobState.SUCCEEDED, None)]


def test_an_operator_takes_a_job_from_its_worker(job: Job) -> None:
    def work(lease: Lease) -> None:
        assert job_requeue(job=Job.objects.get(pk=job.pk))
        with lease.write():
            raise AssertionError("no longer ours")

    run_job(job.pk, 1, work)
    job.refresh_from_db()
    assert (job.state, job.attempt) == (JobState.QUEUED, 2)
