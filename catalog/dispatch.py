"""Names of the worker's tasks that the catalog asks for."""

from __future__ import annotations

from django.urls import reverse

from accounts.models import User
from catalog.models import ModelVersion
from catalog.probe_models import ProbeSetVersion, ProbeSlice
from jobs.models import Device, Job
from jobs.services import job_start

VERSION_CHECK = "catalog.version_check"
PROBE_MAKE = "catalog.probe_make"
PROBE_RUN = "catalog.probe_run"
CALIBRATE = "catalog.calibrate"
VERSION_COSTS = "catalog.version_costs"


def version_check(*, version: ModelVersion, owner: User) -> Job:
    """Queue the check of a version. Called inside the transaction that made it; the message goes out on commit."""
    url = reverse("catalog:version_detail", args=[version.model.team.slug, version.model.name, version.number])
    return job_start(kind=VERSION_CHECK, subject_id=version.pk, label=f"Checking {version}", owner=owner, url=url)


def probe_make(*, piece: ProbeSlice, owner: User, url: str) -> Job:
    """Queue the taking of a slice's rows out of labelled samples. url: the page of those samples."""
    return job_start(kind=PROBE_MAKE, subject_id=piece.pk, label=f"Keeping {piece.n} labelled samples", owner=owner, url=url)


def probe_run(*, piece: ProbeSlice) -> Job:
    """Queue the background run of the models that have not answered a slice yet. It belongs to nobody, and gives way to other jobs."""
    url = reverse("catalog:probe_set", args=[piece.team.slug, piece.set_key])
    return job_start(kind=PROBE_RUN, subject_id=piece.pk, label=f"Running models on the {piece}", owner=None, url=url)


def calibrate(*, made: ProbeSetVersion) -> Job:
    """Queue the measurement of how wrong predictions with these probes are. Background work as well."""
    return job_start(
        kind=CALIBRATE, subject_id=made.pk, label=f"Calibrating with probes {made}", owner=None, url=reverse("catalog:calibration_list")
    )


def version_costs(*, device: Device) -> Job:
    """Queue the analysis of versions that have none, and predictions that are missing. device: of the worker that found that."""
    return job_start(kind=VERSION_COSTS, subject_id=device.pk, label="Predicting what models take", owner=None, url=reverse("jobs:workers"))
