"""Many workers and sweepers at once, on real transactions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import Barrier, Thread

import pytest
from django.db import connection
from django.utils import timezone

from jobs.models import LIVE, Job, JobState
from jobs.services import job_cancel, job_start, job_sweep

pytestmark = pytest.mark.django_db(transaction=True)
THREADS = 6


def at_once(action: Callable[[int], object]) -> list[object]:
    """What `action(number)` returned in each of several threads that started together."""
    start, results = Barrier(THREADS), [None] * THREADS

    def run(number: int) -> None:
        start.wait()
        try:
            results[number] = action(number)
        finally:
            connection.close()

    threads = [Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def queued(**fields: object) -> Job:
    values = {"kind": "test.work", "subject_id": 1, "label": "work", "lease_until": timezone.now() + timedelta(seconds=30)}
    return Job.objects.create(**(values | fields))


def test_one_of_many_workers_gets_the_job() -> None:
    job = queued()
    claims = at_once(lambda number: Job.claim(job.pk, 1, f"w{number}"))
    winners = [claim for claim in claims if claim]
    assert len(winners) == 1
    job.refresh_from_db()
    assert job.worker == winners[0].worker  # type: ignore[attr-defined]


def test_one_of_many_sweepers_requeues() -> None:
    job = queued(state=JobState.RUNNING, worker="w", lease_until=timezone.now() - timedelta(seconds=1))
    swept = at_once(lambda _: len(job_sweep()))
    assert sum(swept) == 1  # type: ignore[arg-type]
    job.refresh_from_db()
    assert (job.state, job.attempt) == (JobState.QUEUED, 2)


def test_asking_for_the_same_work_at_once_makes_one_job() -> None:
    jobs = at_once(lambda _: job_start(kind="test.work", subject_id=1, label="work", owner=None).pk)
    assert len(set(jobs)) == 1 and Job.objects.count() == 1


@pytest.mark.parametrize("turn", range(5))
def test_whatever_the_order_a_cancelled_job_never_stays_alive(turn: int) -> None:
    """Cancel, sweep and claim at once, then the worker's next check and the next sweep: it has ended."""
    job = queued(state=JobState.RUNNING, worker="w", lease_until=timezone.now() - timedelta(seconds=1))
    actions: list[Callable[[], object]] = [
        lambda: job_cancel(job=job),
        job_sweep,
        lambda: Job.claim(job.pk, 2, "w2"),
        job_sweep,
        lambda: Job.claim(job.pk, 2, "w3"),
        lambda: Job.claim(job.pk, 1, "w4"),
    ]
    at_once(lambda number: actions[(number + turn) % THREADS]())
    job.refresh_from_db()
    assert job.cancel_requested
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    job_sweep()
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED and not Job.objects.filter(state__in=LIVE).exists()
