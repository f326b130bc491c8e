"""Work that nobody waits for steps back when somebody does."""

from __future__ import annotations

from catalog.dispatch import CALIBRATE, PROBE_RUN, VERSION_COSTS
from gpuworker.pipeline.lease import GivesWay
from jobs.dispatch import MEASURE_DEVICE
from jobs.models import Job, JobQuerySet, JobState

BROKEN = "Something broke on our side; the operator finds the cause in the worker's log."
"""Kept in place of a result that a fault of ours prevented; the next worker that starts tries again."""
BACKGROUND = (PROBE_RUN, CALIBRATE, VERSION_COSTS, MEASURE_DEVICE)  # nobody waits for these


def somebody_waits() -> JobQuerySet:
    """Queued jobs that people wait for, the oldest first."""
    return Job.objects.filter(state=JobState.QUEUED).exclude(kind__in=BACKGROUND).order_by("pk")


def give_way() -> None:
    """Call between steps. Raises GivesWay when somebody waits."""
    if somebody_waits().exists():
        raise GivesWay
