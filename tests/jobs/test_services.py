"""Jobs from start to end: claim, renew, cancel, retry, what the sweeper does with the lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import DjangoCaptureOnCommitCallbacks, Settings

from accounts.models import AuditEvent, User
from jobs.models import Job, JobState, Worker
from jobs.services import (
    job_cancel,
    job_requeue,
    job_retry,
    job_start,
    job_sweep,
    job_waiting_reason,
    worker_drain,
    worker_forget,
)
from tests.jobs.conftest import MakeJob

pytestmark = pytest.mark.django_db
Sent = list[tuple[str, list[int]]]


def lose(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_starting_sends_once_committed_and_only_once(
    alice: User, sent: Sent, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        first = job_start(kind="search.run", subject_id=7, label="Search", owner=alice)
        again = job_start(kind="search.run", subject_id=7, label="Search", owner=alice)
        assert sent == []
    assert first.pk == again.pk and sent == [("search.run", [first.pk, 1])]


def test_a_job_that_ended_makes_room_for_a_new_one(alice: User, make_job: MakeJob) -> None:
    old = make_job(alice, JobState.FAILED, kind="search.run", subject_id=7)
    assert job_start(kind="search.run", subject_id=7, label="Search", owner=alice).pk != old.pk


def test_only_the_current_attempt_is_claimed_and_only_once(make_job: MakeJob) -> None:
    job = make_job(attempt=2)
    assert Job.claim(job.pk, 1, "w1") is None and Job.claim(job.pk, 3, "w1") is None
    mine = Job.claim(job.pk, 2, "w1")
    assert mine is not None and (mine.state, mine.worker) == (JobState.RUNNING, "w1") and mine.started
    assert Job.claim(job.pk, 2, "w2") is None


def test_a_worker_that_lost_its_job_writes_nothing_any_more(make_job: MakeJob) -> None:
    late = Job.claim(make_job().pk, 1, "w1")
    assert late is not None and late.renew() and late.report_progress(0.5, "half")
    lose(late)
    assert [job.attempt for job in job_sweep()] == [2]
    assert not late.renew() and not late.report_progress(0.9, "late") and not late.lock_if_mine() and not late.end(JobState.SUCCEEDED)
    current = Job.claim(late.pk, 2, "w1")
    assert current is not None and not late.end(JobState.FAILED), "the same worker under an older number"
    assert current.end(JobState.SUCCEEDED)
    current.refresh_from_db()
    assert (current.state, current.progress) == (JobState.SUCCEEDED, 1.0)


def test_a_running_job_is_asked_and_a_queued_one_ends_at_once(make_job: MakeJob) -> None:
    queued, running = make_job(), Job.claim(make_job().pk, 1, "w1")
    assert running is not None
    for job in (queued, running):
        job_cancel(job=job)
    queued.refresh_from_db()
    assert queued.state == JobState.CANCELLED and queued.finished
    assert Job.claim(queued.pk, 1, "w2") is None
    assert running.renew() and running.cancel_requested


def test_a_job_that_was_to_be_cancelled_does_not_start_again(make_job: MakeJob, sent: Sent) -> None:
    running = Job.claim(make_job().pk, 1, "w1")
    assert running is not None
    job_cancel(job=running)
    lose(running)
    assert job_sweep() == [] and sent == []
    running.refresh_from_db()
    assert running.state == JobState.CANCELLED and running.finished


def test_a_flagged_queued_job_is_not_claimed_and_ends_with_the_sweep(make_job: MakeJob) -> None:
    """What is left when a running job is re-queued between the two steps of cancelling."""
    job = make_job(cancel_requested=True)
    assert Job.claim(job.pk, 1, "w1") is None
    lose(job)
    job_sweep()
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED


def test_cancelling_what_ended_changes_nothing(make_job: MakeJob) -> None:
    job = make_job(state=JobState.SUCCEEDED)
    job_cancel(job=job)
    job.refresh_from_db()
    assert (job.state, job.cancel_requested) == (JobState.SUCCEEDED, False)


def test_the_sweeper_leaves_live_leases_and_ended_jobs_alone(make_job: MakeJob) -> None:
    make_job()
    for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.ERRORED, JobState.CANCELLED):
        lose(make_job(state=state))
    assert job_sweep() == []


def test_a_job_that_kills_every_worker_ends_visibly(make_job: MakeJob, settings: Settings) -> None:
    settings.JOB_MAX_ATTEMPTS = 3
    job = make_job()
    for attempt in (1, 2, 3):
        claimed = Job.claim(job.pk, attempt, f"w{attempt}")
        assert claimed is not None
        lose(claimed)
        again = job_sweep()
        assert len(again) == (attempt < 3)
    job.refresh_from_db()
    assert job.state == JobState.ERRORED and "3 workers died at it, the last was w3" in job.error_detail and job.error_fix


def test_waiting_long_is_no_attempt(
    make_job: MakeJob, settings: Settings, sent: Sent, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """Busy workers make a job wait for many leases; it is sent again, and its first death is still its first."""
    settings.JOB_MAX_ATTEMPTS = 2
    job = make_job()
    for _ in range(5):
        lose(job)
        with django_capture_on_commit_callbacks(execute=True):
            assert len(job_sweep()) == 1
    assert sent == [("test.work", [job.pk, 1])] * 5
    claimed = Job.claim(job.pk, 1, "w1")
    assert claimed is not None
    lose(claimed)
    job_sweep()
    job.refresh_from_db()
    assert (job.state, job.attempt, job.deaths) == (JobState.QUEUED, 2, 1)


def test_the_longer_a_job_waits_the_rarer_its_messages(make_job: MakeJob) -> None:
    now = timezone.now()
    young, older, oldest = make_job(), make_job(created=now - timedelta(minutes=4)), make_job(created=now - timedelta(days=1))
    for job in (young, older, oldest):
        lose(job)
    job_sweep()
    pauses = []
    for job in (young, older, oldest):
        job.refresh_from_db()
        pauses.append(round((job.lease_until - timezone.now()).total_seconds(), -1))
    assert pauses == [30, 120, 300]


def test_retry_is_a_new_job_and_keeps_the_old_row(alice: User, make_job: MakeJob) -> None:
    old = make_job(alice, JobState.FAILED, error_title="No.")
    new = job_retry(job=old)
    assert (new.pk != old.pk, new.kind, new.subject_id, new.owner, new.state) == (True, old.kind, old.subject_id, alice, JobState.QUEUED)
    old.refresh_from_db()
    assert old.state == JobState.FAILED


def test_an_operator_takes_a_job_from_its_worker(make_job: MakeJob) -> None:
    running = Job.claim(make_job().pk, 1, "w1")
    assert running is not None
    stale = Job.objects.get(pk=running.pk)
    assert job_requeue(job=Job.objects.get(pk=running.pk))
    assert not running.renew() and not job_requeue(job=stale), "only what is as it was seen"
    assert not job_requeue(job=make_job(state=JobState.SUCCEEDED))
    running.refresh_from_db()
    assert (running.attempt, running.deaths) == (2, 0), "a new number for the next start, and nobody died"


def test_a_waiting_job_says_why(make_job: MakeJob) -> None:
    started = timezone.now() - timedelta(hours=1)
    for seconds in (10, 20, 300):
        make_job(state=JobState.SUCCEEDED, created=started - timedelta(seconds=seconds), started=started)
    first, second, third = make_job(), make_job(), make_job()
    assert job_waiting_reason(first) == "It is next. No worker is running; it starts when one does."
    Worker.objects.create(name="dead", seen=timezone.now() - timedelta(minutes=5))
    draining = Worker.objects.create(name="draining", draining=True)
    assert "Every worker is being drained" in job_waiting_reason(second)
    Worker.objects.create(name="w1")
    assert job_waiting_reason(first) == "It is next. 1 worker is running. Typical wait: 20 s."
    assert job_waiting_reason(second).startswith("1 job is ahead of it.")
    draining.draining = False
    draining.save()
    assert job_waiting_reason(third) == "2 jobs are ahead of it. 2 workers are running. Typical wait: 20 s."
    assert job_waiting_reason(make_job(state=JobState.RUNNING)) == ""


def test_draining_is_recorded_once(operator: User) -> None:
    worker = Worker.objects.create(name="w1")
    for _ in range(2):
        worker_drain(worker=worker, draining=True, actor=operator)
    worker.refresh_from_db()
    assert worker.draining and AuditEvent.objects.filter(action="worker.drain").count() == 1


def test_workers_silent_for_a_day_are_forgotten() -> None:
    Worker.objects.create(name="gone", seen=timezone.now() - timedelta(days=2))
    Worker.objects.create(name="away", seen=timezone.now() - timedelta(hours=2))
    assert worker_forget() == 1 and Worker.objects.get().name == "away"
