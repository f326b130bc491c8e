"""manage.py sweep: what must be done without anybody asking. One process of it is enough; two do no harm."""

from __future__ import annotations

import signal
from threading import Event
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from catalog.services import catalog_sweep
from jobs.services import job_sweep, worker_forget
from jobs.sweeper import Chore, run_chore, run_chores
from search.samplesets import sampleset_expire
from search.settling import subjects_settle
from uploads.services import upload_expire, upload_orphans_delete

CHORES = (
    Chore("jobs: re-queue what was lost", 1, job_sweep),
    Chore("jobs: end what their job left open", 2, subjects_settle),
    Chore("uploads: delete what expired", 60, upload_expire),
    Chore("uploads: delete files without a row", 3600, upload_orphans_delete),
    Chore("sample sets: delete what is past its date", 600, sampleset_expire),
    Chore("models: give back what deleted ones held", 3600, catalog_sweep),
    Chore("workers: forget the silent", 3600, worker_forget),
)


class Command(BaseCommand):
    help = "Re-queue lost jobs and delete what has expired, until SIGTERM. --once runs every chore one time."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="run every chore one time and end; code 1 if one failed")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["once"]:
            failed = [chore.name for chore in CHORES if not run_chore(chore)]
            if failed:
                raise SystemExit(1)
            return
        stop = Event()

        def end(number: int, frame: FrameType | None) -> None:
            stop.set()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        run_chores(CHORES, stop)
