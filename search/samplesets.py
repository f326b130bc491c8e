"""Writes over a sample set, its files and everything that derives from it."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Sum
from django.db.models.functions import Length
from django.utils import timezone

from accounts.models import Team, User, audit
from gpuworker.core.errors import UserError
from gpuworker.core.specs import MODALITIES
from jobs.models import Job
from jobs.services import job_cancel, job_start
from search.dispatch import SAMPLESET_CHECK, SEARCH_RUN
from search.labelling_probes import gifts_abandon
from search.models import Candidate, PredictionChunk, Report, SampleFile, SampleSet, SampleSetState, Search
from uploads.models import Purpose, Upload
from uploads.services import upload_claim, upload_discard

ORPHAN_SECONDS = 3600.0


class BadSampleSet(UserError):
    """What is asked of a sample set cannot be done; says why and what can."""

    code = "bad_sample_set"


@dataclass(frozen=True, slots=True)
class Footprint:
    """What deleting a sample set takes with it. bytes: files on disk and stored predictions."""

    searches: int
    others_searches: int
    candidates: int
    reports: int
    files: int
    bytes: int


def sampleset_create(
    *, owner: User, name: str = "", uploads: Sequence[uuid.UUID | str], modality: str = "", options: Mapping[str, Any] | None = None
) -> SampleSet:
    """Take finished uploads into a new sample set and queue its check. The uploads are the owner's own, each used once.

    modality, options: how to read the files (`gpuworker.core.modalities.options`); empty = guess.
    """
    _known(modality)
    if not uploads:
        raise BadSampleSet("A sample set needs at least one file.", fix="Drop files first.")
    linked: list[Path] = []
    try:
        with transaction.atomic():
            claimed = upload_claim(uploads, owner, Purpose.SAMPLES)
            sample_set = SampleSet.objects.create(owner=owner, name=_name(name, claimed), modality=modality, options=dict(options or {}))
            sample_set.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            linked.append(sample_set.folder)
            rows = [_take(sample_set, upload) for upload in claimed]
            SampleFile.objects.bulk_create(rows)
            sample_set.size_bytes = sum(row.size for row in rows)
            sample_set.save(update_fields=["size_bytes"])
            audit("sampleset.create", sample_set, actor=owner, after={"files": len(rows), "bytes": sample_set.size_bytes})
            _check(sample_set)
            transaction.on_commit(lambda: upload_discard(claimed))
    except BaseException:
        # The uploads keep their own links, so that nothing is lost when the rows were not written.
        for folder in linked:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return sample_set


def _take(sample_set: SampleSet, upload: Upload) -> SampleFile:
    stored = uuid.uuid4().hex
    os.link(upload.path, sample_set.folder / stored)
    return SampleFile(sample_set=sample_set, name=upload.name, stored=stored, size=upload.size, sha256=upload.sha256)


def _name(name: str, uploads: Sequence[Upload]) -> str:
    """What the person typed, else the name of the file or of the folder they dropped."""
    if name.strip():
        return name.strip()[:140]
    first = uploads[0].name
    if len(uploads) == 1:
        return Path(first).stem[:140] or "Samples"
    return (first.split("/")[0] if "/" in first else f"{Path(first).stem} and {len(uploads) - 1} more")[:140]


def _check(sample_set: SampleSet) -> Job:
    return job_start(
        kind=SAMPLESET_CHECK,
        subject_id=sample_set.pk,
        label=f"Check {sample_set.name}",
        owner=sample_set.owner,
        url=sample_set.get_absolute_url(),
    )


def _known(modality: str) -> None:
    if modality and modality not in MODALITIES:
        raise BadSampleSet("Unknown kind of samples.", detail=modality[:60], fix=f"Known are: {', '.join(MODALITIES)}.")


@transaction.atomic
def sampleset_recheck(*, sample_set: SampleSet, actor: User, modality: str = "", options: Mapping[str, Any] | None = None) -> SampleSet:
    """Read the files again with other options. Returns the set to look at.

    Where searches have already run, their predictions belong to the old reading: then a new set of the same files is
    made (hard links, no further disk) and the old one stays as it is.
    """
    _known(modality)
    locked: SampleSet = SampleSet.objects.select_for_update(of=["self"]).get(pk=sample_set.pk)
    if locked.state == SampleSetState.CHECKING:
        raise BadSampleSet("The set is being checked.", fix="Wait until the check has ended, then correct it.")
    if locked.searches.exists():
        locked = _copy(locked, actor)
    before = {"modality": locked.modality, "options": locked.options}
    for field, value in _UNREAD.items():
        setattr(locked, field, value() if callable(value) else value)
    locked.modality, locked.options = modality, dict(options or {})
    locked.save()
    audit("sampleset.recheck", locked, actor=actor, before=before, after={"modality": modality, "options": locked.options})
    _check(locked)
    return locked


_UNREAD: dict[str, Any] = {
    "state": SampleSetState.CHECKING,
    "guess": dict,
    "meta": dict,
    "n": 0,
    "n_seen": 0,
    "problems": list,
    "n_problems": 0,
    "exact_duplicates": 0,
    "near_duplicates": 0,
    "preview": list,
    "content_hash": "",
    "signature": None,
    "error_title": "",
    "error_detail": "",
    "error_fix": "",
}


def _copy(original: SampleSet, actor: User) -> SampleSet:
    made = SampleSet.objects.create(owner=actor, name=f"{original.name} (read again)"[:140], size_bytes=original.size_bytes)
    made.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    rows = []
    for file in original.files.all():
        stored = uuid.uuid4().hex
        os.link(original.folder / file.stored, made.folder / stored)
        rows.append(SampleFile(sample_set=made, name=file.name, stored=stored, size=file.size, sha256=file.sha256))
    SampleFile.objects.bulk_create(rows)
    return made


def retention_limit() -> datetime:
    """The latest date a set may be kept to, counted from now."""
    return timezone.now() + timedelta(days=settings.SAMPLE_RETENTION_DAYS)


@transaction.atomic
def sampleset_retain(*, sample_set: SampleSet, until: datetime, actor: User) -> None:
    """Set the date of deletion: any time from now to SAMPLE_RETENTION_DAYS ahead."""
    if not timezone.now() < until <= retention_limit() + timedelta(minutes=5):
        raise BadSampleSet(
            "The retention date is out of range.",
            detail=f"Asked for {until:%Y-%m-%d}; it may lie between now and {retention_limit():%Y-%m-%d}.",
            fix=f"Choose at most {settings.SAMPLE_RETENTION_DAYS} days from today; you can extend again later.",
        )
    before = sample_set.retain_until
    sample_set.retain_until = until
    sample_set.save(update_fields=["retain_until"])
    audit("sampleset.retain", sample_set, actor=actor, before={"until": _iso(before)}, after={"until": _iso(until)})


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


@transaction.atomic
def sampleset_share(*, sample_set: SampleSet, team: Team | None, actor: User) -> None:
    """Let a team look at the samples and search with them, or take that back."""
    before = {"shared_with": sample_set.shared_with.slug if sample_set.shared_with else None}
    sample_set.shared_with = team
    sample_set.save(update_fields=["shared_with"])
    audit("sampleset.share", sample_set, actor=actor, team=team, before=before, after={"shared_with": team.slug if team else None})


@transaction.atomic
def sampleset_rename(*, sample_set: SampleSet, name: str, actor: User) -> None:
    if not name.strip():
        raise BadSampleSet("A sample set needs a name.", fix="Type one.")
    before = sample_set.name
    sample_set.name = name.strip()[:140]
    sample_set.save(update_fields=["name"])
    audit("sampleset.rename", sample_set, actor=actor, before={"name": before}, after={"name": sample_set.name})


def sampleset_footprint(sample_set: SampleSet) -> Footprint:
    """What a deletion would take, in four queries and one look at the folder."""
    searches = Search.objects.filter(sample_set=sample_set)
    counts = searches.aggregate(all=Count("pk"))
    chunks = PredictionChunk.objects.filter(candidate__search__sample_set=sample_set).aggregate(bytes=Sum(Length("log_probs")))
    return Footprint(
        searches=counts["all"],
        others_searches=searches.exclude(owner=sample_set.owner_id).count(),
        candidates=Candidate.objects.filter(search__sample_set=sample_set).count(),
        reports=Report.objects.filter(search__sample_set=sample_set).count(),
        files=sample_set.files.count(),
        bytes=_folder_bytes(sample_set.folder) + (chunks["bytes"] or 0),
    )


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) if folder.is_dir() else 0


@transaction.atomic
def sampleset_delete(*, sample_set: SampleSet, actor: User | None) -> Footprint:
    """Delete the set with its files, searches, predictions and reports, whoever ran them. Running work is cancelled.

    Labelled samples that were given to a probe set stay there until they are withdrawn.
    """
    gone = sampleset_footprint(sample_set)
    search_ids = list(sample_set.searches.values_list("pk", flat=True))
    live = Job.objects.live().filter(kind=SEARCH_RUN, subject_id__in=search_ids) | Job.objects.live().filter(
        kind=SAMPLESET_CHECK, subject_id=sample_set.pk
    )
    for job in live:
        job_cancel(job=job)
    audit("sampleset.delete", sample_set, actor=actor, before={"name": sample_set.name, "searches": gone.searches, "bytes": gone.bytes})
    gifts_abandon(searches=Search.objects.filter(sample_set=sample_set), actor=actor)
    folder = sample_set.folder
    sample_set.delete()
    transaction.on_commit(lambda: shutil.rmtree(folder, ignore_errors=True))
    return gone


def sampleset_expire() -> list[Footprint]:
    """Retention: delete what is past its date, and folders that a cancelled deletion left behind. For the sweeper."""
    gone = []
    for pk in SampleSet.objects.filter(retain_until__lt=timezone.now()).values_list("pk", flat=True):
        with transaction.atomic():
            sample_set = SampleSet.objects.select_for_update(skip_locked=True).filter(pk=pk, retain_until__lt=timezone.now()).first()
            if sample_set is not None:
                gone.append(sampleset_delete(sample_set=sample_set, actor=None))
    _remove_orphans()
    return gone


def _remove_orphans() -> None:
    folders = {int(path.name): path for path in settings.SAMPLE_DIR.iterdir() if path.name.isdecimal() and path.is_dir()}
    known = set(SampleSet.objects.filter(pk__in=list(folders)).values_list("pk", flat=True))
    for pk, folder in folders.items():
        # A set being made has its folder before its row is visible: only old folders are orphans.
        if pk not in known and time.time() - folder.stat().st_mtime > ORPHAN_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
