"""Starting, cancelling and re-sending jobs."""

from __future__ import annotations

from datetime import timedelta

from celery import current_app
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from jobs.models import LIVE, Job, JobState


def job_start(*, kind: str, subject_id: int, label: str, owner: User | None, url: str = "") -> Job:
    """Queue work on a row and tell the workers once the transaction commits. One live job per kind and subject: asking again returns it."""
    lease = timezone.now() + timedelta(seconds=settings.JOB_LEASE_SECONDS + 10)
    job, created = Job.objects.get_or_create(
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
    """Ask for the end. A queued job ends at once; a running one at its next check."""
    ended = Job.objects.filter(pk=job.pk, state=JobState.QUEUED).update(state=JobState.CANCELLED, finished=timezone.now(), cancel_requested=True)
    if not ended:
        Job.objects.filter(pk=job.pk, state=JobState.RUNNING).update(cancel_requested=True)


def job_sweep() -> list[Job]:
    """Re-queue what was lost. A job that keeps killing its worker ends visibly after JOB_MAX_ATTEMPTS."""
    again: list[Job] = []
    for job in Job.objects.expired(timezone.now()):
        if job.state == JobState.RUNNING and job.attempt >= settings.JOB_MAX_ATTEMPTS:
            Job.objects.filter(pk=job.pk, attempt=job.attempt, state=job.state, lease_until=job.lease_until).update(
                state=JobState.ERRORED,
                finished=timezone.now(),
                error_title="The worker died every time it tried this.",
                error_detail=f"{job.attempt} attempts, the last on {job.worker}.",
                error_fix="Try again with fewer or smaller inputs, or ask the operator to look at the worker's log.",
            )
        elif job.requeue():
            job.refresh_from_db()
            job_send(job)
            again.append(job)
    return again
