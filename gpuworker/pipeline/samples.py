"""Checking a sample set: guess what it is, read it in the sandbox, keep the canonical batch, its previews, its
signature and its probe features."""

from __future__ import annotations

from django.db.models import Sum

from gpuworker.core.errors import UserError
from gpuworker.pipeline import sandboxed
from gpuworker.pipeline.arrays import dump_arrays
from gpuworker.pipeline.lease import Cancelled, Lease
from gpuworker.pipeline.probes import features_write
from jobs.models import JobState
from search.models import SampleSet, SampleSetState
from search.previews import previews_write


def check_sampleset(lease: Lease) -> None:
    """Job search.sampleset_check. Every step can be done again: files are replaced whole, the row is written once at the end."""
    try:
        _check(lease)
    except Exception:
        if SampleSet.objects.filter(pk=lease.job.subject_id).exists():
            raise
        raise Cancelled from None  # deleted meanwhile, with its files


def _check(lease: Lease) -> None:
    sample_set = SampleSet.objects.get(pk=lease.job.subject_id)
    files = [(file.name, sample_set.folder / file.stored) for file in sample_set.files.all()]
    lease.progress(0.1, "Looking at the files")
    guessed = sandboxed.guess_samples(files)
    modality = sample_set.modality or guessed["modality"]
    options = sample_set.options or (guessed["options"] if guessed["modality"] == modality else {})
    lease.progress(0.3, f"Reading {len(files)} file{'s' if len(files) != 1 else ''}")
    staged = sandboxed.read_samples(files, modality=modality, options=options)
    lease.progress(0.9, "Saving")
    size = _replace(sample_set, staged)
    facts = staged.facts
    with lease.write():
        SampleSet.objects.filter(pk=sample_set.pk).update(
            state=SampleSetState.READY,
            modality=modality,
            guess=guessed | {"used": options},
            meta=facts["meta"],
            n=facts["n"],
            n_seen=facts["n"] + facts["n_problems"],
            problems=facts["problems"],
            n_problems=facts["n_problems"],
            exact_duplicates=facts["exact_duplicates"],
            near_duplicates=facts["near_duplicates"],
            content_hash=facts["content_hash"],
            signature=dump_arrays(staged.signature),
            size_bytes=(sample_set.files.aggregate(total=Sum("size"))["total"] or 0) + size,
            error_title="",
            error_detail="",
            error_fix="",
        )


def _replace(sample_set: SampleSet, staged: sandboxed.StagedSamples) -> int:
    """Whole files by rename, so that a reader never sees half of one; returns their bytes.

    The folder is there unless the set was deleted meanwhile.
    """
    temporary = sample_set.batch_path.with_suffix(".new")
    temporary.write_bytes(staged.batch)
    temporary.replace(sample_set.batch_path)
    previews_write(sample_set, staged.previews, staged.preview_offsets.tolist())
    features = features_write(sample_set, staged.features, str(staged.facts["encoder"]))
    return len(staged.batch) + len(staged.previews) + features


def sampleset_ended(lease: Lease, state: JobState, error: UserError | None) -> None:
    """Show on the set what its job ended with."""
    if state == JobState.SUCCEEDED:
        return
    title, detail, fix = (error.title, error.detail, error.fix) if error else ("The check was cancelled.", "", "Start it again.")
    SampleSet.objects.filter(pk=lease.job.subject_id).update(
        state=SampleSetState.FAILED, error_title=title[:300], error_detail=detail, error_fix=fix
    )
