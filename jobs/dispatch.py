"""Names of the worker's tasks that belong to the workers themselves."""

from __future__ import annotations

from django.urls import reverse

from jobs.models import Device, Job
from jobs.services import job_start

MEASURE_DEVICE = "jobs.measure_device"


def measure_device(*, device: Device) -> Job:
    """Queue the measurement of what work costs on a device. It belongs to nobody, and gives way to other jobs."""
    return job_start(kind=MEASURE_DEVICE, subject_id=device.pk, label=f"Timing {device}", owner=None, url=reverse("jobs:workers"))
