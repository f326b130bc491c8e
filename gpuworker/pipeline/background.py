"""Work that nobody waits for steps back when somebody does."""

from __future__ import annotations

from catalog.dispatch import BACKGROUND
from gpuworker.pipeline.lease import GivesWay
from jobs.models import Job, JobState


def give_way() -> None:
    """Call between steps. Raises GivesWay when a job is queued that people wait for."""
    if Job.objects.filter(state=JobState.QUEUED).exclude(kind__in=BACKGROUND).exists():
        raise GivesWay
