"""Starting, cancelling and re-sending jobs."""

from __future__ import annotations

from datetime import timedelta

from celery import current_app
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User, audit
from jobs.models import LIVE, Job, JobState, Worker
from jobs.queue import queue_state, waiting_reason


@transaction.atomic
def job_start(*, kind: str, subject_id: int, label: str, owner: User | None, url: str = "") -> Job:
    """Queue work on a row and tell the workers once the transaction commits. One live job per kind and subject: asking again returns it.

    A job that is about to end is waited for, so that nobody relies on one that has looked around for the last time.
    """
    lease = timezone.now() + timedelta(seconds=settings.JOB_LEASE_SECONDS + 10)
    job, created = Job.objects.select_for_update().get_or_create(
        kind=kind,
        subject_id=subject_id,
        state__in=LIVE,
        defaults={"label": label[:200], "owner": owner, "url": url, "lease_until": lease, "state": JobState.QUEUED},
    )
    if created:
        job_send(job)
    return job


def job_send(job: Job) -> None:
    """Send the hint. A lost message is harmless: the sweeper sends again when the lease runs out."""
    kind, job_id, attempt = job.kind, job.pk, job.attempt
    transaction.on_commit(lambda: current_app.send_task(kind, args=[job_id, attempt]), robust=True)


def job_cancel(*, job: Job) -> None:
    """Ask for the end. A queued job ends at once; a running one at its next check.

    The flag comes first: a job that the sweeper re-queues between the two updates is not claimed again, and the sweeper ends it.
    """
    Job.objects.filter(pk=job.pk, state__in=LIVE).update(cancel_requested=True)
    Job.objects.filter(pk=job.pk, state=JobState.QUEUED).update(state=JobState.CANCELLED, finished=timezone.now())


def job_retry(*, job: Job) -> Job:
    """Start the same work again as a new job; the old row stays as it ended. A job that still lives is returned as it is."""
    return job_start(kind=job.kind, subject_id=job.subject_id, label=job.label, owner=job.owner, url=job.url)


def job_requeue(*, job: Job) -> bool:
    """A live job goes back to the queue: its worker gives it up, or an operator takes it. What that worker still writes is refused."""
    if not job.is_live or not job.requeue():
        return False
    job.refresh_from_db()
    job_send(job)
    return True


def job_waiting_reason(job: Job) -> str:
    """Why a queued job waits, for people; "" for any other. A list asks `jobs.queue.explain`, which looks at the queue once."""
    return waiting_reason(job, queue_state()) if job.state == JobState.QUEUED else ""


def job_sweep() -> list[Job]:
    """Re-queue what was lost; returns that. A job that was to be cancelled, or keeps killing its worker, ends visibly."""
    again: list[Job] = []
    for job in Job.objects.expired(timezone.now()):
        died = job.state == JobState.RUNNING
        if job.cancel_requested:
            _end_lost(job, JobState.CANCELLED)
        elif died and job.deaths + 1 >= settings.JOB_MAX_ATTEMPTS:
            _end_lost(
                job,
                JobState.ERRORED,
                title="The worker died every time it tried this.",
                detail=f"{job.deaths + 1} workers died at it, the last was {job.worker}.",
                fix="Try again with fewer or smaller inputs, or ask the operator to look at the worker's log.",
            )
        elif job.requeue(died=died):
            job.refresh_from_db()
            job_send(job)
            again.append(job)
    return again


def _end_lost(job: Job, state: JobState, *, title: str = "", detail: str = "", fix: str = "") -> None:
    """End a job whose worker is gone; only if it is still as it was seen."""
    seen = Job.objects.filter(pk=job.pk, attempt=job.attempt, state=job.state, lease_until=job.lease_until)
    seen.update(state=state, finished=timezone.now(), error_title=title, error_detail=detail, error_fix=fix)


def worker_drain(*, worker: Worker, draining: bool, actor: User) -> None:
    """A draining worker ends what it does and takes nothing new."""
    with transaction.atomic():
        if Worker.objects.filter(pk=worker.pk).exclude(draining=draining).update(draining=draining):
            audit("worker.drain", worker, actor=actor, before={"draining": not draining}, after={"draining": draining})


def worker_forget() -> int:
    """Delete workers that have been silent for a day; returns how many."""
    deleted, _ = Worker.objects.filter(seen__lt=timezone.now() - Worker.FORGET_AFTER).delete()
    return deleted
