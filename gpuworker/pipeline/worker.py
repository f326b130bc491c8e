"""The worker process itself: its row, its heartbeat, its sandbox started before the first job, its intake."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import asdict
from typing import Any

import psutil
from celery import signals
from celery.worker.consumer import Consumer
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from gpuworker.core.sandbox import Sandbox
from gpuworker.pipeline import sandboxed
from gpuworker.pipeline.costs import costs_start
from gpuworker.pipeline.devices import device_start, this_device
from gpuworker.pipeline.intake import intake
from gpuworker.pipeline.lease import stopping, worker_name
from gpuworker.pipeline.probe_runs import outdated_start
from jobs.models import Job, JobState, Worker

log = logging.getLogger(__name__)
BEAT_SECONDS = 5.0


def register() -> None:
    """Bind to the worker's life. Called once at import of the tasks; only a Celery worker sends these signals."""
    signals.worker_ready.connect(_ready)
    signals.worker_shutting_down.connect(_stopping)
    signals.worker_shutdown.connect(_shutdown)


def _ready(sender: Consumer, **_: Any) -> None:
    intake.bind(sender)
    threading.Thread(target=_beat, name="heartbeat", daemon=True).start()


def _stopping(**_: Any) -> None:
    """SIGTERM came: the job under way is handed back at its next check, which lets the warm shutdown end soon."""
    stopping.set()


def _shutdown(**_: Any) -> None:
    sandboxed.sandbox().close()
    Worker.objects.filter(name=worker_name()).delete()


def _beat() -> None:
    """One row per worker, touched every few seconds, with the job it holds and the walls of its sandbox.

    The row says whether the worker is being drained; its intake follows.
    """
    _catch_up()
    walls = _walls(sandboxed.sandbox())
    process = psutil.Process(os.getpid())
    machine: int | None = None
    while not stopping.is_set():
        try:
            close_old_connections()
            machine = machine or this_device().pk
            row, _ = Worker.objects.update_or_create(
                name=worker_name(),
                defaults={
                    "device": sandboxed.device(),
                    "machine_id": machine,
                    "pid": os.getpid(),
                    "memory_bytes": process.memory_info().rss,
                    "seen": timezone.now(),
                    "job": Job.objects.filter(worker=worker_name(), state=JobState.RUNNING).order_by("-pk").first(),
                    "walls": walls,
                },
            )
            intake.turn(on=not row.draining)
        except DatabaseError:
            log.warning("heartbeat: the database does not answer, trying again")
            connection.close()
        stopping.wait(BEAT_SECONDS)
    connection.close()


def _catch_up() -> None:
    """Queue what an earlier worker left undone on the probes, what a newer program computes otherwise, the timing of a new device, and
    the analysis of versions that have none."""
    try:
        outdated_start()
        device_start()
        costs_start()
    except DatabaseError:
        log.warning("the database does not answer: probes are looked at when the next worker starts, or the next model is published")
        connection.close()


def _walls(sandbox: Sandbox) -> dict[str, Any]:
    try:
        return asdict(sandbox.walls())
    except Exception:
        log.exception("the sandbox does not start")
        return {"grade": "broken", "sentences": ["The sandbox does not start here: no upload can be opened. See the worker's log."]}
