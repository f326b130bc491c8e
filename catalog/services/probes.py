"""Probe slices: kept at their giver's wish, answered by models, given back. Who may search with them."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Exists, Q, Sum
from django.db.models.functions import Length
from django.utils import timezone

from accounts.models import Team, User, audit
from catalog import dispatch
from catalog.facts import CheckedAnswers, CheckedSlice, LabelledSamples
from catalog.labels import label_key
from catalog.models import ModelVersion, ReferenceSample
from catalog.probe_models import ProbeAnswers, ProbeSharing, ProbeSlice, ProbeSliceQuerySet
from catalog.probes import set_key, versions_lacking
from catalog.storage import labelled_folder, reference_folder, remove_folder
from jobs.models import LIVE, Job
from jobs.services import job_cancel


@transaction.atomic
def probe_slice_apply(*, version: ModelVersion, piece: CheckedSlice) -> ProbeSlice:
    """Keep a slice of the version's reference sample. The same slice again changes nothing; another takes its place."""
    old = ProbeSlice.objects.filter(version=version).first()
    if old is not None and old.withdrawn is None and bytes(old.row_hashes or b"") == piece.row_hashes and old.labels == version.labels:
        return old
    if old is not None:
        old.delete()
    reference = ReferenceSample.objects.get(version=version)
    return ProbeSlice.objects.create(
        version=version,
        team=version.model.team,
        owner=version.model.owner,
        set_key=piece.set_key,
        modality=version.model.modality,
        label_key=version.label_key,
        labels=version.labels,
        meta=piece.meta,
        given_by=reference.chosen_by,
        given=reference.chosen,
        **_rows(piece),
    )


def _rows(piece: CheckedSlice) -> dict[str, Any]:
    return {
        "n": piece.n,
        "encoder": piece.encoder,
        "features": piece.features,
        "row_hashes": piece.row_hashes,
        "row_labels": piece.row_labels,
        "size_bytes": piece.file_bytes + len(piece.features) + len(piece.row_hashes) + len(piece.row_labels),
    }


@transaction.atomic
def labelled_slice_give(*, team: Team, actor: User, given: LabelledSamples) -> ProbeSlice:
    """A slice of samples that people labelled, for a team in which the actor may publish. A worker takes its rows, and models are
    run on them without a review: whoever may publish gives nobody more than their own word, and curators may withdraw it."""
    piece = ProbeSlice.objects.create(
        team=team,
        owner=actor,
        samples=given.digest,
        set_key=set_key(given.modality, given.labels, given.meta),
        modality=given.modality,
        label_key=label_key(given.labels),
        labels=given.labels,
        meta=given.meta,
        n=given.n,
        given_by=actor,
    )
    audit("probes.give", piece, actor=actor, team=team, after={"probes": piece.n})
    dispatch.probe_make(piece=piece, owner=actor, url=given.url)
    return piece


@transaction.atomic
def labelled_slice_apply(*, piece: ProbeSlice, checked: CheckedSlice) -> bool:
    """Store what a worker took out of the samples, and queue the models. False when the slice was withdrawn meanwhile."""
    if not ProbeSlice.objects.unmade().select_for_update(of=("self",)).filter(pk=piece.pk).exists():
        return False
    ProbeSlice.objects.filter(pk=piece.pk).update(**_rows(checked))
    probe_runs_start(slices=Q(pk=piece.pk))
    return True


@transaction.atomic
def labelled_slice_withdraw(*, piece: ProbeSlice, actor: User | None) -> int:
    """Take labelled samples back: rows, features and all answers on them are deleted at once; the bytes they held."""
    rows, arrays = _slice_empty(ProbeSlice.objects.filter(pk=piece.pk), actor)
    if rows:
        audit("probes.withdraw", piece, actor=actor, team=piece.team, before={"probes": rows}, after={"probes": 0})
    return arrays + remove_folder(labelled_folder(piece.pk))


@transaction.atomic
def probe_answers_apply(*, version: ModelVersion, piece: ProbeSlice, answers: CheckedAnswers) -> bool:
    """Store a version's answers on a slice, once. False when the slice was withdrawn meanwhile: nothing is kept of it."""
    if not ProbeSlice.objects.kept().select_for_update(of=("self",)).filter(pk=piece.pk).exists():
        return False
    ProbeAnswers.objects.get_or_create(
        version=version,
        piece=piece,
        defaults={
            "log_probs": answers.log_probs,
            "seen": answers.seen,
            "judged": answers.judged,
            "correct": answers.correct,
            "error": answers.error[:300],
        },
    )
    return True


@transaction.atomic
def probe_features_apply(*, piece: ProbeSlice, encoder: str, features: bytes) -> None:
    """Features of a newer encoder take the place of the old ones. Rows and answers stay."""
    before = len(piece.features or b"")
    ProbeSlice.objects.kept().filter(pk=piece.pk).update(
        encoder=encoder, features=features, size_bytes=piece.size_bytes - before + len(features)
    )


@transaction.atomic
def reference_withdraw(*, version: ModelVersion, actor: User) -> int:
    """Take back the opt-in: rows, features and all answers on them are deleted at once; the bytes they held.

    The behaviour signature stays, and so do the boards of searches that ran before.
    """
    reference = ReferenceSample.objects.select_for_update().get(version=version)
    before = reference.choice
    reference.choice, reference.chosen_by, reference.chosen = ReferenceSample.Choice.SIGNATURE_ONLY, actor, timezone.now()
    reference.files, reference.raw_deleted = [], timezone.now()
    reference.save()
    rows, arrays = _slice_empty(ProbeSlice.objects.filter(version=version), actor)
    audit(
        "reference.withdraw",
        version,
        actor=actor,
        team=version.model.team,
        before={"choice": before, "probes": rows},
        after={"choice": reference.choice, "probes": 0},
    )
    return arrays + remove_folder(reference_folder(version.pk))


def _slice_empty(one: ProbeSliceQuerySet, actor: User | None) -> tuple[int, int]:
    """Empty a slice; how many rows it had, or was to have, and the bytes of the database that held them."""
    piece = one.filter(withdrawn=None).select_for_update(of=("self",)).first()
    if piece is None:
        return 0, 0
    for job in Job.objects.filter(kind__in=(dispatch.PROBE_MAKE, dispatch.PROBE_RUN), subject_id=piece.pk, state__in=LIVE):
        job_cancel(job=job)
    held = ProbeAnswers.objects.filter(piece=piece).aggregate(total=Sum(Length("log_probs")))["total"] or 0
    arrays = sum(len(part or b"") for part in (piece.features, piece.row_hashes, piece.row_labels))
    ProbeAnswers.objects.filter(piece=piece).delete()
    piece.features = piece.row_hashes = piece.row_labels = None
    piece.withdrawn, piece.withdrawn_by, piece.size_bytes, piece.samples = timezone.now(), actor, 0, ""
    piece.save(update_fields=["features", "row_hashes", "row_labels", "withdrawn", "withdrawn_by", "size_bytes", "samples"])
    return piece.n, arrays + held


def probes_drop(version_id: int) -> None:
    """Delete slice and answers of a version that is purged or long rejected. The file goes with the folder of the reference sample."""
    ProbeSlice.objects.filter(version_id=version_id).delete()
    ProbeAnswers.objects.filter(version_id=version_id).delete()


def probe_runs_start(*, slices: Q | None = None) -> int:
    """Queue a run for each approved slice (of those) that some searchable version has not answered yet; how many."""
    behind = ProbeSlice.objects.approved().filter(slices or Q()).filter(Q(answered=None) | Exists(versions_lacking()))
    pieces = list(behind.lean())
    for piece in pieces:
        dispatch.probe_run(piece=piece)
    return len(pieces)


@transaction.atomic
def probe_sharing_set(*, team: Team, public: bool, actor: User) -> None:
    """Let everybody's searches use the team's probes, or only its members'. Nobody can look at the rows in either case."""
    sharing, _ = ProbeSharing.objects.select_for_update().get_or_create(team=team)
    if sharing.public == public:
        return
    audit("probes.share", team, actor=actor, team=team, before={"public": sharing.public}, after={"public": public})
    sharing.public = public
    sharing.save(update_fields=["public"])
