"""The loop of chores, and the real `manage.py sweep` through a database that goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.utils import timezone

from jobs.models import Job, JobState
from jobs.sweeper import Chore, run_chore, run_chores
from tests.conftest import make_user
from uploads.models import Upload

ROOT = Path(__file__).resolve().parents[2]


def test_chores_come_at_their_intervals_and_failures_stop_nothing() -> None:
    stop, ran = Event(), []

    def fails() -> None:
        ran.append("fails")
        raise OperationalError("server closed the connection")

    def breaks() -> None:
        ran.append("breaks")
        raise RuntimeError("a defect")

    def counts() -> None:
        ran.append("counts")
        if ran.count("counts") == 3:
            stop.set()

    chores = [
        Chore("fails", 0, fails),
        Chore("breaks", 0, breaks),
        Chore("rare", 3600, lambda: ran.append("rare")),
        Chore("counts", 0, counts),
    ]
    run_chores(chores, stop, turn=0)
    assert ran.count("fails") == ran.count("breaks") == ran.count("counts") == 3 and ran.count("rare") == 1


def test_a_failing_chore_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def away() -> None:
        raise OperationalError("connection refused")

    assert not run_chore(Chore("uploads", 1, away))
    assert "uploads: the database does not answer" in caplog.text and "Traceback" not in caplog.text
    assert not run_chore(Chore("odd", 1, lambda: 1 / 0))
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_once_does_every_chore() -> None:
    past = timezone.now() - timedelta(hours=1)
    owner = make_user("ann")
    job = Job.objects.create(kind="test.work", subject_id=1, label="work", state=JobState.RUNNING, worker="w", lease_until=past)
    Upload.objects.create(owner=owner, purpose="samples", name="old", size=1, expires=past)
    call_command("sweep", "--once")
    job.refresh_from_db()
    assert job.state == JobState.QUEUED and not Upload.objects.exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_process_survives_lost_connections_and_ends_on_sigterm() -> None:
    def lost(number: int) -> Job:
        past = timezone.now() - timedelta(hours=1)
        return Job.objects.create(kind="test.work", subject_id=number, label="work", state=JobState.RUNNING, worker="w", lease_until=past)

    def wait_until_swept(job: Job) -> None:
        deadline = time.monotonic() + 30
        while Job.objects.get(pk=job.pk).state != JobState.QUEUED:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)

    first = lost(1)
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path="/" + connection.settings_dict["NAME"]).geturl()
    command = [sys.executable, "manage.py", "sweep"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "DATABASE_URL": url})
    try:
        wait_until_swept(first)
        end = time.monotonic() + 2
        with connection.cursor() as cursor:
            while time.monotonic() < end:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                time.sleep(0.01)
        wait_until_swept(lost(2))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
