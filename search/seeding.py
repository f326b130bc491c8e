"""Publishing the demo catalog through the same services as any upload, and its demo sample sets."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from accounts.models import Membership, Role, Team, User, Visibility
from accounts.services import personal_team_create
from catalog.models import ModelVersion, ReferenceSample, RegisteredModel, Review, VersionState
from catalog.probe_models import ProbeSharing
from catalog.services.models import ModelDetails, model_create
from catalog.services.probes import probe_sharing_set
from catalog.services.reviews import review_decide
from catalog.services.versions import Reference, version_create
from search.models import SampleSet, SampleSetState
from search.samplesets import sampleset_create
from uploads.models import Purpose, Upload
from uploads.services import upload_append, upload_create
from uploads.tus import CHUNK_MAX_BYTES

FILES = settings.BASE_DIR / "gpuworker" / "seed" / "files"
TEAM = "demo"
WAIT_SECONDS = 300.0
UNDER_WAY = (VersionState.CHECKING, VersionState.IN_REVIEW)


class SeedFailed(Exception):
    """A demo model did not pass its checks, or no worker took the jobs; the text says which."""


@dataclass(frozen=True, slots=True)
class Account:
    """A demo account. The password is made on the first start and kept in the data folder only."""

    username: str
    password: str
    role: str
    note: str


PEOPLE = (
    ("demo", Role.PUBLISHER, "publishes models and runs searches"),
    ("curator", Role.CURATOR, "reviews models"),
    ("operator", Role.ADMIN, "runs the workers, sees /admin/"),
)


def accounts() -> list[Account]:
    """The demo accounts with their passwords, as the first seed made them."""
    path = settings.DATA_DIR / "demo-accounts.json"
    return [Account(**row) for row in json.loads(path.read_text())] if path.exists() else []


def seed(say: Callable[[str], None]) -> bool:
    """Make accounts, models and sample sets that are not there yet; True when anything was made. Can be run again after a crash."""
    people = _people()
    team = Team.objects.get(slug=TEAM)
    if not ProbeSharing.objects.filter(team=team).exists():
        probe_sharing_set(team=team, public=True, actor=people["operator"])
    manifest = json.loads((FILES / "manifest.json").read_text())
    models = [item for item in manifest["models"] if not RegisteredModel.objects.filter(team=team, name=item["name"]).exists()]
    sets = [
        item for item in manifest["demos"] if not SampleSet.objects.filter(owner=people["demo"], demo=True, name=item["title"]).exists()
    ]
    for item in models:
        publish(item, team, people["demo"])
    for item in sets:
        _sampleset(item, people["demo"])
    versions = ModelVersion.objects.filter(model__team=team, model__name__in=[item["name"] for item in manifest["models"]], number=1)
    for done, total in until_done(versions, people):
        say(f"demo catalog: {done} of {total} models and sample sets checked")
    # The supervisor compares this mark with the manifest, and then need not ask again.
    (settings.DATA_DIR / "seeded").write_text(hashlib.sha256((FILES / "manifest.json").read_bytes()).hexdigest())
    return bool(models or sets)


def _people() -> dict[str, User]:
    path: Path = settings.DATA_DIR / "demo-accounts.json"
    known = {row.username: row for row in accounts()}
    rows = [known.get(name) or Account(name, secrets.token_urlsafe(9), role, note) for name, role, note in PEOPLE]
    if not path.exists():
        temporary = path.with_suffix(".new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump([asdict(row) for row in rows], file, indent=1)
        temporary.replace(path)
    people: dict[str, User] = {}
    with transaction.atomic():
        team, _ = Team.objects.get_or_create(slug=TEAM, defaults={"name": "Demo"})
        for row in rows:
            operator = row.username == "operator"
            user, created = User.objects.get_or_create(username=row.username, defaults={"is_staff": operator, "is_superuser": operator})
            if created:
                user.set_password(row.password)
                user.save(update_fields=["password"])
            personal_team_create(user=user)
            Membership.objects.get_or_create(user=user, team=team, defaults={"role": row.role})
            people[row.username] = user
    return people


def publish(item: dict[str, Any], team: Team, owner: User) -> None:
    details = ModelDetails(
        title=item["title"], task=item["task"], summary=item["summary"], licence=item["licence"], visibility=Visibility.PUBLIC
    )
    with transaction.atomic():
        model = model_create(team=team, name=item["name"], modality=item["spec"]["modality"], details=details, actor=owner)
        reference = Reference(
            uploads=[_upload(item["reference"], Purpose.REFERENCE, owner)],
            choice=ReferenceSample.Choice.PROBES,
            options=item["reference_options"],
        )
        version_create(
            model=model,
            files=[_upload(item["file"], Purpose.MODEL, owner)],
            spec=item["spec"],
            actor=owner,
            reference=reference,
            comment="Demo catalog.",
            submit=True,
        )


def _sampleset(item: dict[str, Any], owner: User) -> None:
    with transaction.atomic():
        upload = _upload(item["file"], Purpose.SAMPLES, owner)
        made = sampleset_create(owner=owner, name=item["title"], uploads=[upload.pk], modality=item["modality"], options=item["options"])
        SampleSet.objects.filter(pk=made.pk).update(demo=True, retain_until=None)


def _upload(name: str, purpose: str, owner: User) -> Upload:
    content = (FILES / name).read_bytes()
    upload = upload_create(owner=owner, purpose=purpose, name=name, size=len(content))
    for start in range(0, len(content), CHUNK_MAX_BYTES):
        upload = upload_append(
            upload_id=upload.pk, owner=owner, offset=start, body=io.BytesIO(content[start : start + CHUNK_MAX_BYTES]), sha256=None
        )
    return upload


def until_done(versions: QuerySet[ModelVersion], people: dict[str, User]) -> Iterator[tuple[int, int]]:
    """Approve those of `versions` that passed, until nothing is left to wait for. Yields (done, total) when it grew.

    What the demo account has published itself is its own affair: neither waited for nor approved.
    """
    last, deadline = -1, time.monotonic() + WAIT_SECONDS
    sets = SampleSet.objects.filter(owner=people["demo"], demo=True)
    while True:
        for version in versions.filter(state=VersionState.IN_REVIEW).select_related("model__team"):
            review_decide(version=version, decision=Review.Decision.APPROVE, reason="Checked demo model.", actor=people["curator"])
        broken = [f"{row}: {row.error_title} {row.error_detail}" for row in versions.filter(state=VersionState.REJECTED)]
        broken += [f"{row}: {row.error_title} {row.error_detail}" for row in sets.filter(state=SampleSetState.FAILED)]
        if broken:
            raise SeedFailed("The demo catalog is not whole:\n" + "\n".join(broken))
        total = versions.count() + sets.count()
        done = total - versions.filter(state__in=UNDER_WAY).count() - sets.filter(state=SampleSetState.CHECKING).count()
        if done > last:
            yield done, total
            last, deadline = done, time.monotonic() + WAIT_SECONDS
        if done == total:
            return
        if time.monotonic() > deadline:
            raise SeedFailed(f"No worker finished a check within {WAIT_SECONDS:.0f} s. See the worker's log.")
        time.sleep(0.2)
