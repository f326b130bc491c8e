"""Versions on their way in: created from uploads, sent to the checks, corrected and checked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from accounts.models import User, audit
from catalog import dispatch
from catalog.errors import WrongState
from catalog.labels import label_key
from catalog.models import ModelVersion, ReferenceSample, RegisteredModel, Signature, VersionFile, VersionState
from catalog.probe_models import ProbeSlice
from catalog.storage import incoming_folder, move_into, reference_folder, remove_folder
from gpuworker.core import input_spec
from gpuworker.core.door import detect
from gpuworker.core.errors import SpecError, UnreadableModel
from gpuworker.core.input_spec import InputSpec
from jobs.models import LIVE, Job
from uploads.models import Purpose, Upload
from uploads.services import upload_claim, upload_discard


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference sample that comes with a version. options: how its files are to be read; empty = guess."""

    uploads: Sequence[Upload]
    choice: str = ReferenceSample.Choice.SIGNATURE_ONLY
    options: dict[str, Any] = field(default_factory=dict)


@transaction.atomic
def version_create(
    *,
    model: RegisteredModel,
    files: Sequence[Upload],
    spec: dict[str, Any],
    actor: User,
    reference: Reference | None = None,
    comment: str = "",
    submit: bool = False,
) -> ModelVersion:
    """The next version of a model, in `checking`, with its check queued.

    submit: go into review once the checks have passed. Files change hands last, so that a refusal leaves the uploads as they were.
    Raises SpecError when the document does not parse or is of another modality than the model, FormatRefused, NotClaimable.
    """
    parsed = _parse(model, spec)
    file_format = format_of(files)
    upload_claim([upload.pk for upload in files], actor, Purpose.MODEL)
    claimed_reference = _claim_reference(reference, actor)
    RegisteredModel.objects.select_for_update().get(pk=model.pk)
    number = (model.versions.aggregate(last=Max("number"))["last"] or 0) + 1
    version = ModelVersion.objects.create(
        model=model,
        number=number,
        state=VersionState.CHECKING,
        created_by=actor,
        comment=comment,
        submit_when_ready=submit,
        format=file_format,
        spec=parsed.to_json(),
        labels=list(parsed.labels),
        label_key=label_key(parsed.labels),
        size_bytes=sum(upload.size for upload in files),
    )
    audit(
        "version.create",
        version,
        actor=actor,
        team=model.team,
        after={"state": version.state, "format": file_format, "files": [file.name for file in files]},
    )
    dispatch.version_check(version=version, owner=actor)
    _take_model_files(version, files)
    if claimed_reference is not None:
        _take_reference(version, claimed_reference, actor)
    return version


@transaction.atomic
def version_recheck(
    *, version: ModelVersion, actor: User, spec: dict[str, Any] | None = None, reference: Reference | None = None
) -> ModelVersion:
    """Check a rejected version again, with a corrected spec or another reference sample; its files need no second upload.

    Also for a version whose check was lost (no live job). Raises WrongState otherwise, or when its files have been deleted.
    """
    version = ModelVersion.objects.select_for_update(of=("self",)).select_related("model__team").get(pk=version.pk)
    lost = version.state == VersionState.CHECKING and not version_jobs(version).filter(state__in=LIVE).exists()
    if version.state != VersionState.REJECTED and not lost:
        raise WrongState(
            "Only a rejected version can be checked again.",
            detail=f"{version} is {version.get_state_display().lower()}.",
            fix="Publish a new version.",
        )
    if not incoming_folder(version.pk).is_dir():
        raise WrongState("The files of this version have been deleted.", fix="Publish a new version and upload them again.")
    claimed_reference = _claim_reference(reference, actor)
    if spec is not None or claimed_reference is not None:
        Signature.objects.filter(version=version).delete()
    before = {"state": version.state, "error": version.error_title}
    if spec is not None:
        parsed = _parse(version.model, spec)
        version.spec, version.labels, version.label_key = parsed.to_json(), list(parsed.labels), label_key(parsed.labels)
    version.state, version.checks = VersionState.CHECKING, []
    version.error_title = version.error_detail = version.error_fix = ""
    version.save()
    audit("version.recheck", version, actor=actor, team=version.model.team, before=before, after={"state": version.state})
    dispatch.version_check(version=version, owner=actor)
    if claimed_reference is not None:
        ReferenceSample.objects.filter(version=version).delete()
        ProbeSlice.objects.filter(version=version).delete()
        remove_folder(reference_folder(version.pk))
        _take_reference(version, claimed_reference, actor)
    return version


def version_jobs(version: ModelVersion) -> Any:
    """The jobs that check this version, newest first."""
    return Job.objects.filter(kind=dispatch.VERSION_CHECK, subject_id=version.pk).order_by("-id")


def _parse(model: RegisteredModel, document: dict[str, Any]) -> InputSpec:
    parsed = input_spec.parse(document)
    if parsed.modality != model.modality:
        raise SpecError(
            "The input spec is of another modality than the model.",
            detail=f"{model} reads {model.modality}, the spec says {parsed.modality}.",
            fix="Register another model for another kind of sample.",
        )
    return parsed


def format_of(uploads: Sequence[Upload]) -> str:
    """The accepted format of the model file among the uploads, from its first bytes. Raises FormatRefused, UnreadableModel."""
    found = [_detected(upload) for upload in uploads if not upload.name.lower().endswith(".json")]
    if not found:
        raise UnreadableModel(
            "There is no model file among the files.",
            detail=f"Found {', '.join(upload.name for upload in uploads)[:200] or 'none'}.",
            fix="Upload a model file.",
        )
    return found[0]


def _detected(upload: Upload) -> str:
    try:
        with upload.path.open("rb") as stream:
            return detect(upload.name, stream, upload.size).key
    except FileNotFoundError as error:
        raise UnreadableModel("The bytes of an upload are lost.", detail=upload.name, fix="Upload the file again.") from error


def _claim_reference(reference: Reference | None, actor: User) -> Reference | None:
    if reference is None or not reference.uploads:
        return None
    upload_claim([upload.pk for upload in reference.uploads], actor, Purpose.REFERENCE)
    return reference


def _take_model_files(version: ModelVersion, uploads: Sequence[Upload]) -> None:
    for upload in uploads:
        file = VersionFile.objects.create(version=version, name=upload.name[-300:], size=upload.size, sha256=upload.sha256)
        move_into(upload.path, incoming_folder(version.pk) / str(file.pk))
    upload_discard(uploads)


def _take_reference(version: ModelVersion, reference: Reference, actor: User) -> None:
    """Names are kept as the person gave them; on disk a file has a number."""
    files = [{"name": upload.name, "stored": str(place), "size": upload.size} for place, upload in enumerate(reference.uploads)]
    ReferenceSample.objects.create(
        version=version, choice=reference.choice, chosen_by=actor, chosen=timezone.now(), options=reference.options, files=files
    )
    for file, upload in zip(files, reference.uploads, strict=True):
        move_into(upload.path, reference_folder(version.pk) / str(file["stored"]))
    upload_discard(reference.uploads)
