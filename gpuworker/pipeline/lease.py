"""Running one job under a lease: claim, keep, end. Every task goes through `run_job`.

A keeper thread renews the lease while the work goes on, so one long step does not lose it. A worker that dies stops
renewing; the sweeper re-queues the job with a higher attempt, and this worker's later writes are refused.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection, transaction

from gpuworker.core.errors import UserError
from gpuworker.pipeline.intake import intake
from jobs.models import Job, JobState, Worker
from jobs.services import job_requeue, job_send

log = logging.getLogger(__name__)
OUTAGE = (OperationalError, InterfaceError)
LOOK_SECONDS = 1.0  # a request to stop is seen within this time


class LeaseLost(Exception):
    """Another attempt has this job now (or nobody): stop at once and write nothing."""


class Cancelled(Exception):
    """The owner asked for the end."""


class WorkerStopping(Exception):
    """This worker process is to end: hand the job back at once, another worker goes on from what is saved."""


class GivesWay(Exception):
    """Background work found that somebody waits: hand the job back, it comes again behind what waits."""


stopping = threading.Event()  # set by gpuworker.pipeline.worker when the process is asked to end


def worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


class Lease:
    """The right to work on a job until further notice. Use as a context manager around the work."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._lost = threading.Event()
        self._cancelled = threading.Event()
        self._done = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"lease-{job.pk}", daemon=True)

    def __enter__(self) -> Lease:
        self._keeper.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._keeper.join(timeout=settings.JOB_LEASE_SECONDS)

    def check(self) -> None:
        """Call between steps. Costs nothing; raises LeaseLost, Cancelled or WorkerStopping."""
        if self._lost.is_set():
            raise LeaseLost
        if stopping.is_set():
            raise WorkerStopping
        if self._cancelled.is_set():
            raise Cancelled

    def progress(self, share: float | None, text: str) -> None:
        """Show how far the job is; share in [0, 1] or None when unknown."""
        self.check()
        if not self.job.report_progress(share, text):
            raise LeaseLost

    @contextmanager
    def write(self, *, last: bool = False) -> Iterator[None]:
        """A transaction that commits only while this attempt still owns the job. last: also after the owner asked for the end."""
        if not last:
            self.check()
        with transaction.atomic():
            if not self.job.lock_if_mine():
                self._lost.set()
                raise LeaseLost
            yield

    def _keep(self) -> None:
        every = min(settings.JOB_LEASE_SECONDS / 4, LOOK_SECONDS)
        while not self._done.wait(every):
            try:
                if not self.job.renew():
                    self._lost.set()
                    return
                if self.job.cancel_requested:
                    self._cancelled.set()
            except OUTAGE:
                # The server may be restarting; the lease outlives a short pause, and a long one loses it rightly.
                log.warning("job %s: the lease could not be renewed, trying again", self.job.pk)
                close_old_connections()
        connection.close()


def run_job(
    job_id: int, attempt: int, work: Callable[[Lease], None], ended: Callable[[Lease, JobState, UserError | None], None] | None = None
) -> None:
    """Claim the job and do `work`. A stale or doubled message does nothing.

    ended: called in the final transaction with the final state, to end the subject's row together with the job's.
    A database outage leaves the job running; its lease expires and the sweeper hands it on.
    """
    close_old_connections()
    if stopping.is_set() or Worker.objects.filter(name=worker_name(), draining=True).exists():
        _pass_on(job_id, attempt)
        return
    job = Job.claim(job_id, attempt, worker_name())
    if job is None:
        log.info("job %s attempt %s is stale, nothing to do", job_id, attempt)
        return
    log.info("job %s %s attempt %s started", job.pk, job.kind, attempt)
    with Lease(job) as lease:
        state, error = _outcome(lease, work)
        if state is None:
            return
        with transaction.atomic():
            if not job.lock_if_mine():
                return
            if ended is not None:
                ended(lease, state, error)
            if error is not None:
                job.end(state, title=error.title, detail=error.detail, fix=error.fix)
            else:
                job.end(state)
    log.info("job %s %s ended %s", job.pk, job.kind, state)


BROKEN = UserError(
    "Something broke on our side.",
    detail="The operator finds the cause in the worker's log.",
    fix="Try again; if it happens again, tell the operator the number of this job.",
)


def _outcome(lease: Lease, work: Callable[[Lease], None]) -> tuple[JobState | None, UserError | None]:
    """The end state of the work, and what to tell its owner. None: the job is not ours to end."""
    try:
        work(lease)
        lease.check()
    except LeaseLost:
        log.warning("job %s was taken over by another attempt", lease.job.pk)
        return None, None
    except Cancelled:
        return JobState.CANCELLED, None
    except (WorkerStopping, GivesWay):
        _hand_back(lease.job)
        return None, None
    except UserError as error:
        return JobState.FAILED, error
    except OUTAGE:
        log.exception("job %s: the database failed; the lease will expire and the job be taken up again", lease.job.pk)
        connection.close()
        return None, None
    except Exception:
        if stopping.is_set():  # the end of the process tears down whatever was under way
            _hand_back(lease.job)
            return None, None
        log.exception("job %s broke", lease.job.pk)
        return JobState.ERRORED, BROKEN
    return JobState.SUCCEEDED, None


def _pass_on(job_id: int, attempt: int) -> None:
    """Tell the other workers of a job that this one must not start, also of one that it has just handed back; no attempt is used up.

    Its own intake ends first: else the message would come round to it.
    """
    intake.turn(on=False)
    waiting = Job.objects.filter(pk=job_id, attempt=attempt, state=JobState.QUEUED).first()
    if waiting is not None:
        job_send(waiting)
        log.info("job %s is left to another worker", job_id)


def _hand_back(job: Job) -> None:
    """Under the row's lock, so that neither the keeper's renewal nor another attempt comes in between."""
    with transaction.atomic():
        if not job.lock_if_mine():
            return
        job.refresh_from_db()
        job_requeue(job=job)
    log.info("job %s is handed back", job.pk)
