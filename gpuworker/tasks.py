"""Celery shells: a name, a time limit, one call. Arguments are a job's id and its attempt; the row says the rest."""

from __future__ import annotations

from celery import shared_task

from gpuworker.pipeline import calibration, devices, probe_runs, publish, samples, search, worker
from gpuworker.pipeline.lease import run_job

worker.register()


@shared_task(name="catalog.version_check")
def version_check(job_id: int, attempt: int) -> None:
    run_job(job_id, attempt, publish.check_version, publish.version_ended)


@shared_task(name="catalog.probe_run")
def probe_run(job_id: int, attempt: int) -> None:
    run_job(job_id, attempt, probe_runs.run_slice)


@shared_task(name="catalog.calibrate")
def calibrate(job_id: int, attempt: int) -> None:
    run_job(job_id, attempt, calibration.run_calibration)


@shared_task(name="jobs.measure_device")
def measure_device(job_id: int, attempt: int) -> None:
    run_job(job_id, attempt, devices.measure_device)


@shared_task(name="search.sampleset_check")
def sampleset_check(job_id: int, attempt: int) -> None:
    run_job(job_id, attempt, samples.check_sampleset, samples.sampleset_ended)


@shared_task(name="search.run")
def search_run(job_id: int, attempt: int) -> None:
    run_job(job_id, attempt, search.run_search, search.search_ended)
