"""What the worker's check writes. Called inside the worker's own transaction, which holds the job's lease."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection, transaction
from django.utils import timezone

from accounts.models import audit
from catalog.facts import CheckedModel, CheckedReference, CheckedSignature, CheckedSlice, CheckedWork, ModelFacts, PredictedCost
from catalog.models import ModelVersion, ReferenceSample, Signature, Tensor, VersionState
from catalog.services.costs import costs_write, version_work_apply
from catalog.services.probes import probe_slice_apply
from catalog.services.reviews import version_submit
from catalog.storage import pack_path
from gpuworker.core.errors import UserError

TENSOR_LOCK = 0x6D73_7465  # one advisory lock for all who add to or delete from the tensor store


class TensorsVanished(Exception):
    """Tensors counted on were reclaimed meanwhile: write them again and retry."""


def lock_tensors() -> None:
    """Keep the tensor table and its packs still until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [TENSOR_LOCK])


def tensors_known(keys: Iterable[str]) -> set[str]:
    """Those of the keys that the store already holds."""
    return set(Tensor.objects.filter(key__in=list(keys)).values_list("key", flat=True))


@transaction.atomic
def version_model_apply(*, version: ModelVersion, checked: CheckedModel, seconds: float) -> None:
    """Store program, facts and tensor rows. Repeating it changes nothing. Raises TensorsVanished."""
    lock_tensors()
    new = {place.key: place for place in checked.new}
    wanted = set(checked.keys)
    gone = wanted - set(new) - tensors_known(wanted)
    if gone or any(not pack_path(pack).exists() for pack in {place.pack for place in checked.new}):
        raise TensorsVanished(f"{len(gone)} tensors")
    Tensor.objects.bulk_create(
        [
            Tensor(key=place.key, dtype=place.dtype, shape=list(place.shape), nbytes=place.nbytes, pack=place.pack, offset=place.offset)
            for place in new.values()
        ],
        ignore_conflicts=True,
    )
    version.tensors.set(Tensor.objects.filter(key__in=wanted))
    version.format, version.program, version.program_hash = checked.format, checked.program, checked.program_hash
    version.facts, version.architecture = dict(checked.facts), checked.architecture
    version.parameters, version.tensor_bytes = checked.parameters, checked.tensor_bytes
    shared = checked.facts.get("shared_tensors", 0)
    _done(version, "model", f"Read {len(wanted)} tensors, {shared} of them already in the store", seconds)
    version.save(update_fields=["format", "program", "program_hash", "facts", "architecture", "parameters", "tensor_bytes", "checks"])


@transaction.atomic
def version_trial_apply(
    *,
    version: ModelVersion,
    facts: ModelFacts,
    latency_ms: float,
    memory_bytes: int,
    work: CheckedWork,
    costs: Iterable[PredictedCost],
    seconds: float,
) -> None:
    """Store what the trial batch showed, and what the version takes elsewhere. facts: added to those of the model."""
    version.facts = {**version.facts, **facts}
    version.latency_ms, version.memory_bytes = latency_ms, memory_bytes
    version_work_apply(version_id=version.pk, work=work)
    costs_write(costs=costs)
    _done(version, "trial", f"Ran on {facts.get('trial_on', 'made-up samples')}", seconds)
    version.save(update_fields=["facts", "latency_ms", "memory_bytes", "checks"])


@transaction.atomic
def version_reference_apply(
    *,
    version: ModelVersion,
    reference: CheckedReference,
    signature: CheckedSignature | None,
    piece: CheckedSlice | None = None,
    seconds: float,
) -> None:
    """Store the behaviour signature, and the slice its publisher opted in. signature None: the stored one still holds."""
    ReferenceSample.objects.filter(version=version).update(content_hash=reference.content_hash, n=reference.n, problems=reference.problems)
    if signature is not None:
        Signature.objects.update_or_create(
            version=version,
            defaults={
                "recipe": signature.recipe,
                "content_hash": signature.content_hash,
                "arrays": signature.arrays,
                "summary": signature.summary,
                "n": signature.n,
                "accuracy": signature.accuracy,
                "computed": timezone.now(),
            },
        )
    if piece is not None:
        probe_slice_apply(version=version, piece=piece)
    _done(version, "signature", f"Computed the behaviour signature from {reference.n} reference samples", seconds)
    version.save(update_fields=["checks"])


@transaction.atomic
def version_probes_apply(*, version: ModelVersion, answered: int, seconds: float) -> None:
    """Note that the version has answered the probes there are for its labels; its answers are stored already."""
    text = f"Answered {answered} labelled probes" if answered else "There are no labelled probes for these labels yet"
    _done(version, "probes", text, seconds)
    version.save(update_fields=["checks"])


@transaction.atomic
def version_check_finish(*, version: ModelVersion, kept: bool, raw_deleted: bool) -> None:
    """checking -> ready, and on into review when the author asked for it."""
    version.files.update(kept=kept)
    if raw_deleted:
        ReferenceSample.objects.filter(version=version, raw_deleted=None).update(raw_deleted=timezone.now(), files=[])
    version.state = VersionState.READY
    version.save(update_fields=["state"])
    audit(
        "version.check",
        version,
        actor=None,
        team=version.model.team,
        before={"state": VersionState.CHECKING},
        after={"state": version.state},
    )
    if version.submit_when_ready:
        version_submit(version=version, actor=version.created_by)


@transaction.atomic
def version_check_reject(*, version: ModelVersion, error: UserError) -> None:
    """checking -> rejected, with the cause. Files stay, so that the author can correct the spec and check again."""
    version.state = VersionState.REJECTED
    version.error_title, version.error_detail, version.error_fix = error.title[:300], error.detail, error.fix
    version.save(update_fields=["state", "error_title", "error_detail", "error_fix"])
    audit(
        "version.check",
        version,
        actor=None,
        team=version.model.team,
        before={"state": VersionState.CHECKING},
        after={"state": version.state, "error": error.title},
    )


@transaction.atomic
def version_check_resume(*, version: ModelVersion) -> None:
    """rejected -> checking, when the same check is tried again."""
    version.state = VersionState.CHECKING
    version.error_title = version.error_detail = version.error_fix = ""
    version.save(update_fields=["state", "error_title", "error_detail", "error_fix"])
    audit(
        "version.check",
        version,
        actor=None,
        team=version.model.team,
        before={"state": VersionState.REJECTED},
        after={"state": version.state},
    )


def _done(version: ModelVersion, key: str, text: str, seconds: float) -> None:
    version.checks = [step for step in version.checks if step["key"] != key] + [{"key": key, "text": text, "seconds": round(seconds, 2)}]
