"""`manage.py seed`: fill an empty instance with the demo catalog. Needs a running worker."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from search.seeding import SeedFailed, seed


class Command(BaseCommand):
    help = "Publish the demo models and sample sets that are not there yet."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            seed(self._say)
        except SeedFailed as error:
            raise CommandError(str(error)) from error

    def _say(self, text: str) -> None:
        ending = "\r" if self.stdout.isatty() else "\n"
        self.stdout.write(f"           {text}", ending=ending)
        self.stdout.flush()
