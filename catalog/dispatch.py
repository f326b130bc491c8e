"""Names of the worker's tasks that the catalog asks for."""

from __future__ import annotations

from django.urls import reverse

from accounts.models import User
from catalog.models import ModelVersion
from jobs.models import Job
from jobs.services import job_start

VERSION_CHECK = "catalog.version_check"


def version_check(*, version: ModelVersion, owner: User) -> Job:
    """Queue the check of a version. Called inside the transaction that made it; the message goes out on commit."""
    url = reverse("catalog:version_detail", args=[version.model.team.slug, version.model.name, version.number])
    return job_start(kind=VERSION_CHECK, subject_id=version.pk, label=f"Checking {version}", owner=owner, url=url)
