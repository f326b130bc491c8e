"""Celery shells: a name and one call. Arguments are a job's id and its attempt; the row says the rest."""

from __future__ import annotations

from collections.abc import Callable

from celery import shared_task

from gpuworker.core.errors import UserError
from gpuworker.pipeline import calibration, costs, devices, probe_runs, publish, samples, search, slices, worker
from gpuworker.pipeline.background import BACKGROUND, somebody_waits
from gpuworker.pipeline.lease import Lease, run_job
from jobs.models import JobState

Work = tuple[Callable[[Lease], None], Callable[[Lease, JobState, UserError | None], None] | None]
"""What a job does, and what ends its subject's row together with it."""

WORK: dict[str, Work] = {
    "catalog.version_check": (publish.check_version, publish.version_ended),
    "catalog.probe_make": (slices.make_slice, None),
    "catalog.probe_run": (probe_runs.run_slice, probe_runs.slice_ended),
    "catalog.calibrate": (calibration.run_calibration, None),
    "catalog.version_costs": (costs.run_costs, costs.costs_ended),
    "jobs.measure_device": (devices.measure_device, None),
    "search.sampleset_check": (samples.check_sampleset, samples.sampleset_ended),
    "search.run": (search.run_search, search.search_ended),
}


def run_kind(kind: str, job_id: int, attempt: int) -> None:
    """A message that is about background work finds first what people wait for, whose own messages stand behind it."""
    if kind in BACKGROUND:
        for job in somebody_waits():
            run_job(job.pk, job.attempt, *WORK[job.kind])
    run_job(job_id, attempt, *WORK[kind])


def _task(kind: str) -> None:
    @shared_task(name=kind)
    def run(job_id: int, attempt: int) -> None:
        run_kind(kind, job_id, attempt)


for _kind in WORK:
    _task(_kind)
worker.register()
