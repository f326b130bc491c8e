"""Why a job waits: where it stands, who works, how long it usually takes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from django.db.models import Count, Min, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from jobs.models import Job, JobState, Worker

RECENT = 50
RECENT_DAYS = 7


@dataclass(frozen=True, slots=True)
class QueueState:
    """The queue at one moment. waiting: ids of queued jobs, the oldest first. typical_wait: seconds, None = nothing to go by."""

    waiting: tuple[int, ...]
    workers: int
    draining: int
    typical_wait: float | None

    def position(self, job: Job) -> int:
        """1 = next."""
        return bisect_left(self.waiting, job.pk) + 1


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """What the operator's page and the metrics tell about the queue."""

    queued: int
    running: int
    oldest_waiting: datetime | None
    oldest_waiting_seconds: float


def queue_state() -> QueueState:
    """Three queries, whatever the number of jobs asked about."""
    waiting = tuple(Job.objects.filter(state=JobState.QUEUED).order_by("id").values_list("id", flat=True))
    count = Worker.objects.alive().aggregate(taking=Count("pk", filter=Q(draining=False)), draining=Count("pk", filter=Q(draining=True)))
    # The first start of a job tells the wait; later ones followed the death of a worker.
    recent = Job.objects.filter(attempt=1, started__isnull=False, created__gt=timezone.now() - timedelta(days=RECENT_DAYS))
    times = recent.order_by("-id").values_list("created", "started")[:RECENT]
    waits = [(started - created).total_seconds() for created, started in times if started]
    return QueueState(waiting, count["taking"], count["draining"], median(waits) if waits else None)


def queue_figures() -> QueueFigures:
    now = timezone.now()
    row = Job.objects.live().aggregate(
        queued=Count("pk", filter=Q(state=JobState.QUEUED)),
        running=Count("pk", filter=Q(state=JobState.RUNNING)),
        oldest=Min("created", filter=Q(state=JobState.QUEUED)),
    )
    age = (now - row["oldest"]).total_seconds() if row["oldest"] else 0.0
    return QueueFigures(row["queued"], row["running"], row["oldest"], age)


def waiting_reason(job: Job, queue: QueueState) -> str:
    """One sentence or two about a queued job; "" for any other."""
    if job.state != JobState.QUEUED:
        return ""
    ahead = queue.position(job) - 1
    if ahead:
        place = ngettext("%(n)d job is ahead of it.", "%(n)d jobs are ahead of it.", ahead) % {"n": ahead}
    else:
        place = _("It is next.")
    if not queue.workers:
        if queue.draining:
            return place + " " + _("Every worker is being drained and takes nothing new; it starts when an operator lets one go on.")
        return place + " " + _("No worker is running; it starts when one does.")
    working = ngettext("%(n)d worker is running.", "%(n)d workers are running.", queue.workers) % {"n": queue.workers}
    if queue.typical_wait is None:
        return f"{place} {working}"
    return f"{place} {working} " + _("Typical wait: %(time)s.") % {"time": duration(queue.typical_wait)}


def explain(jobs: Iterable[Job]) -> list[tuple[Job, str]]:
    """Each job with why it waits. Asks about the queue only when one of them does."""
    rows = list(jobs)
    if not any(job.state == JobState.QUEUED for job in rows):
        return [(job, "") for job in rows]
    queue = queue_state()
    return [(job, waiting_reason(job, queue)) for job in rows]


def duration(seconds: float) -> str:
    """12 s, 3 min, 2 h 5 min: as precise as a person needs."""
    whole = round(seconds)
    if whole < 1:
        return _("under 1 s")
    if whole < 90:
        return _("%(n)d s") % {"n": whole}
    minutes = round(whole / 60)
    if minutes < 90:
        return _("%(n)d min") % {"n": minutes}
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return _("%(h)d h %(m)d min") % {"h": hours, "m": rest}
    return _("%(n)d days") % {"n": round(hours / 24)}
