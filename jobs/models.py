"""Jobs and workers. The job row is the truth: state, attempt token, lease. Broker messages only carry hints."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class JobState(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Done"
    FAILED = "failed", "Failed"  # a UserError: shown with its cause
    ERRORED = "errored", "Broken"  # a defect of ours: generic text, traceback in the log
    CANCELLED = "cancelled", "Cancelled"


LIVE = (JobState.QUEUED, JobState.RUNNING)
RESEND_AT_MOST = 300.0  # seconds between two messages about a job that waits


class JobQuerySet(models.QuerySet["Job"]):
    def live(self) -> JobQuerySet:
        return self.filter(state__in=LIVE)

    def listed(self, state: str) -> JobQuerySet:
        """The operator's list, of one state or (empty) of all, with the owners."""
        rows = self.select_related("owner")
        return rows.filter(state=state) if state else rows

    def expired(self, now: datetime) -> JobQuerySet:
        """Live jobs whose lease ran out: lost by the broker, or their worker died."""
        return self.live().filter(lease_until__lt=now)

    def tray(self, user_id: int) -> JobQuerySet:
        """What the job tray of a person shows: live jobs and those that ended within a day."""
        recent = timezone.now() - timedelta(days=1)
        return self.filter(owner_id=user_id).filter(Q(state__in=LIVE) | Q(finished__gt=recent)).order_by("-id")[:20]


class Job(models.Model):
    """One unit of background work.

    `kind` is the task's name, `subject_id` the row it works on. `attempt` is a fencing token: each claim needs the
    current one, and it grows when a running job is taken from its worker, so that a late worker's writes are refused.
    It counts starts, not messages: a job that waits long is sent again under the same number. `deaths` counts the starts
    that ended with their worker; a worker that hands its job back, or an operator who takes it, adds none.
    """

    kind = models.CharField(max_length=60)
    subject_id = models.BigIntegerField()
    label = models.CharField(max_length=200)
    url = models.CharField(max_length=300, blank=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    state = models.CharField(max_length=10, choices=JobState.choices, default=JobState.QUEUED)
    attempt = models.PositiveIntegerField(default=1)
    deaths = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField()
    worker = models.CharField(max_length=120, blank=True)
    cancel_requested = models.BooleanField(default=False)
    progress = models.FloatField(null=True, blank=True)
    progress_text = models.CharField(max_length=200, blank=True)
    error_title = models.CharField(max_length=300, blank=True)
    error_detail = models.TextField(blank=True)
    error_fix = models.TextField(blank=True)
    created = models.DateTimeField(default=timezone.now)
    started = models.DateTimeField(null=True, blank=True)
    finished = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["lease_until"], name="job_lease", condition=Q(state__in=["queued", "running"])),
            models.Index(fields=["kind", "subject_id"], name="job_subject"),
            models.Index(fields=["owner", "-id"], name="job_owner"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject_id"], condition=Q(state__in=["queued", "running"]), name="one_live_job_per_subject"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject_id}"

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    @property
    def can_retry(self) -> bool:
        return self.state in (JobState.FAILED, JobState.ERRORED, JobState.CANCELLED)

    @property
    def seconds(self) -> float | None:
        """How long it has run, or ran; None before its start."""
        return ((self.finished or timezone.now()) - self.started).total_seconds() if self.started else None

    def _mine(self) -> JobQuerySet:
        return Job.objects.filter(pk=self.pk, attempt=self.attempt, worker=self.worker, state=JobState.RUNNING)

    @classmethod
    def claim(cls, job_id: int, attempt: int, worker: str) -> Job | None:
        """Take a queued job; None when the message is stale (another attempt, already taken, cancelled, or ended)."""
        now = timezone.now()
        taken = cls.objects.filter(pk=job_id, attempt=attempt, state=JobState.QUEUED, cancel_requested=False).update(
            state=JobState.RUNNING,
            worker=worker,
            started=now,
            lease_until=now + timedelta(seconds=settings.JOB_LEASE_SECONDS),
        )
        return cls.objects.get(pk=job_id) if taken else None

    def renew(self) -> bool:
        """Push the lease forward; False when the job is no longer this worker's. Refreshes `cancel_requested`."""
        now = timezone.now()
        if not self._mine().update(lease_until=now + timedelta(seconds=settings.JOB_LEASE_SECONDS)):
            return False
        self.cancel_requested = Job.objects.values_list("cancel_requested", flat=True).get(pk=self.pk)
        return True

    def report_progress(self, share: float | None, text: str) -> bool:
        return bool(self._mine().update(progress=share, progress_text=text[:200]))

    def lock_if_mine(self) -> bool:
        """Inside a transaction: hold the row until commit, so that no other attempt can start meanwhile."""
        return self._mine().select_for_update().exists()

    def end(self, state: JobState, *, title: str = "", detail: str = "", fix: str = "") -> bool:
        """Final state; False when the job was taken away meanwhile."""
        values: dict[str, Any] = {
            "state": state,
            "finished": timezone.now(),
            "error_title": title[:300],
            "error_detail": detail,
            "error_fix": fix,
        }
        if state == JobState.SUCCEEDED:
            values |= {"progress": 1.0, "progress_text": ""}
        return bool(self._mine().update(**values))

    def requeue(self, *, died: bool = False) -> bool:
        """Hand a job to whoever comes next. Conditional on what was seen, so two sweepers cannot both do it.

        died: its worker is gone and did not hand it back. A queued job is only to be sent again, the less often the longer
        it waits, since its messages pile up in the broker.
        """
        now = timezone.now()
        pause = settings.JOB_LEASE_SECONDS + 10
        if self.state == JobState.QUEUED:
            pause = max(pause, min(RESEND_AT_MOST, (now - self.created).total_seconds() / 2))
        seen = Job.objects.filter(pk=self.pk, attempt=self.attempt, state=self.state, lease_until=self.lease_until)
        values: dict[str, Any] = {"state": JobState.QUEUED, "worker": "", "lease_until": now + timedelta(seconds=pause)}
        if self.state == JobState.RUNNING:
            values |= {"attempt": F("attempt") + 1, "deaths": F("deaths") + int(died)}
        return bool(seen.update(**values))


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> WorkerQuerySet:
        return self.filter(seen__gt=timezone.now() - Worker.STALE_AFTER)

    def taking_work(self) -> WorkerQuerySet:
        return self.alive().filter(draining=False)


class Worker(models.Model):
    """A worker process and its last heartbeat. `walls` says which sandbox walls stand on its machine."""

    name = models.CharField(max_length=120, unique=True)
    device = models.CharField(max_length=120, blank=True)
    pid = models.IntegerField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    started = models.DateTimeField(default=timezone.now)
    seen = models.DateTimeField(default=timezone.now)
    job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    draining = models.BooleanField(default=False)
    walls = models.JSONField(default=dict)
    machine = models.ForeignKey("Device", null=True, blank=True, on_delete=models.SET_NULL, related_name="workers")

    objects = WorkerQuerySet.as_manager()

    STALE_AFTER = timedelta(seconds=30)
    FORGET_AFTER = timedelta(days=1)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def alive(self) -> bool:
        return timezone.now() - self.seen < self.STALE_AFTER


class DeviceQuerySet(models.QuerySet["Device"]):
    def measured(self) -> DeviceQuerySet:
        """Those for which something can be predicted, without their cost models."""
        return self.filter(measured__isnull=False).defer("cost")

    def with_workers(self) -> DeviceQuerySet:
        """Annotated with `at_work`: how many workers of this kind take jobs now."""
        now = Q(workers__draining=False, workers__seen__gt=timezone.now() - Worker.STALE_AFTER)
        return self.annotate(at_work=models.Count("workers", filter=now))


class Device(models.Model):
    """A kind of machine that workers run on, and what work costs there: by it searches are planned and their time is foretold."""

    name = models.CharField(max_length=200, unique=True)
    cost = models.JSONField(default=dict, help_text="The engine's cost model, with what real runs taught it; empty = not measured yet")
    measured = models.DateTimeField(null=True, blank=True)

    objects = DeviceQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
