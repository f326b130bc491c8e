"""Giving bytes back: purging deleted models, sweeping what nobody refers to."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet, Sum
from django.utils import timezone

from accounts.models import User, audit
from catalog.cost_models import VersionWork
from catalog.models import ModelVersion, ReferenceSample, RegisteredModel, Signature, Tensor, VersionFile, VersionState
from catalog.probe_models import ProbeSlice
from catalog.services.checks import lock_tensors
from catalog.services.models import RESTORE_WINDOW
from catalog.services.probes import probes_drop
from catalog.storage import blob_path, incoming_folder, pack_path, reference_folder, remove_file, remove_folder

REJECTED_FILES_KEPT = timedelta(days=7)
PACK_GRACE_SECONDS = 24 * 3600


def reclaimable_bytes(model: RegisteredModel) -> int:
    """About what purging this model would free: tensors and originals that nobody else has."""
    own = Tensor.objects.filter(versions__model=model).exclude(versions__in=ModelVersion.objects.exclude(model=model))
    keys = own.values("key").distinct()
    tensors = Tensor.objects.filter(key__in=keys).aggregate(total=Sum("nbytes"))["total"] or 0
    mine = VersionFile.objects.filter(version__model=model, kept=True)
    elsewhere = VersionFile.objects.exclude(version__model=model).filter(kept=True).values("sha256")
    blobs = {file.sha256: file.size for file in mine.exclude(sha256__in=elsewhere)}
    return int(tensors) + sum(blobs.values())


def model_purge(*, model: RegisteredModel, actor: User | None) -> int:
    """Remove a deleted model for good; the bytes that came free on disk.

    Versions that took part in searches keep a bare row, so that those searches stay readable. Rows go first, in one
    transaction; files follow, so that a kill in between leaves unreferenced files for `catalog_sweep`, never rows without files.
    """
    with transaction.atomic():
        lock_tensors()
        model = RegisteredModel.objects.select_for_update().select_related("team").get(pk=model.pk, deleted__isnull=False, purged=None)
        versions = list(model.versions.defer("program", "spec"))
        shas = set(VersionFile.objects.filter(version__in=versions).values_list("sha256", flat=True))
        packs = set(Tensor.objects.filter(versions__in=versions).values_list("pack", flat=True))
        keys = list(Tensor.objects.filter(versions__in=versions).values_list("key", flat=True).distinct())
        audit("model.purge", model, actor=actor, team=model.team, before={"versions": len(versions)})
        _drop_rows(model, versions)
        Tensor.objects.filter(key__in=keys, versions=None).delete()
    freed = sum(_remove_unused_pack(pack) for pack in packs) + sum(_remove_unused_blob(sha) for sha in shas)
    return freed + sum(remove_folder(folder(version.pk)) for version in versions for folder in (incoming_folder, reference_folder))


def _drop_rows(model: RegisteredModel, versions: list[ModelVersion]) -> None:
    evidence = set(model.versions.filter(candidacies__isnull=False).values_list("pk", flat=True))
    model.published_version = None
    if not evidence:
        model.save(update_fields=["published_version"])
        model.delete()
        return
    for version in versions:
        if version.pk not in evidence:
            version.delete()
            continue
        version.tensors.clear()
        version.files.all().delete()
        Signature.objects.filter(version=version).delete()
        ReferenceSample.objects.filter(version=version).delete()
        probes_drop(version.pk)
        VersionWork.objects.filter(version=version).delete()
        ModelVersion.objects.filter(pk=version.pk).update(state=VersionState.ARCHIVED, program=None, checks=[])
    # The name comes free for another model; the title still says in old searches what this was.
    model.name, model.purged = f"deleted-{model.pk}", timezone.now()
    model.save(update_fields=["published_version", "name", "purged"])


def _remove_unused_pack(pack: str) -> int:
    """Under the lock, so that no check can begin to count on the file while it is removed."""
    with transaction.atomic():
        lock_tensors()
        return 0 if Tensor.objects.filter(pack=pack).exists() else remove_file(pack_path(pack))


def _remove_unused_blob(sha256: str) -> int:
    return 0 if VersionFile.objects.filter(sha256=sha256, kept=True).exists() else remove_file(blob_path(sha256))


def catalog_sweep() -> int:
    """Periodic: purge models whose restore window is over, drop files of long rejected versions and packs nobody refers to; bytes freed."""
    now = timezone.now()
    freed = 0
    for model in RegisteredModel.objects.filter(deleted__lt=now - RESTORE_WINDOW, purged=None):
        freed += model_purge(model=model, actor=None)
    old = ModelVersion.objects.filter(state=VersionState.REJECTED, created__lt=now - REJECTED_FILES_KEPT)
    for pk in old.values_list("pk", flat=True):
        freed += remove_folder(incoming_folder(pk)) + remove_folder(reference_folder(pk))
        ReferenceSample.objects.filter(version_id=pk, raw_deleted=None).update(raw_deleted=now, files=[])
        probes_drop(pk)
    versions, slices = ModelVersion.objects.all(), ProbeSlice.objects.filter(withdrawn=None)
    for name, owners in (("incoming", versions), ("references", versions), ("labelled", slices)):
        freed += _remove_ownerless(name, owners)
    packs = settings.TENSOR_DIR / "packs"
    for path in packs.glob("*.safetensors") if packs.is_dir() else ():
        if time.time() - path.stat().st_mtime > PACK_GRACE_SECONDS:
            freed += _remove_unused_pack(path.stem)
    return freed


def _remove_ownerless(name: str, owners: QuerySet[Any]) -> int:
    """Folders named by rows that are not among the owners, left by a kill between writing a file and the commit."""
    folders = {int(path.name): path for path in (settings.BLOB_DIR / name).glob("*") if path.name.isdecimal()}
    old = {pk: path for pk, path in folders.items() if time.time() - path.stat().st_mtime > PACK_GRACE_SECONDS}
    known = set(owners.filter(pk__in=old).values_list("pk", flat=True))
    return sum(remove_folder(path) for pk, path in old.items() if pk not in known)
