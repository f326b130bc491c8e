"""Running models on labelled probes: a new version on all slices when it is checked, all versions on a new slice in the background."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from numpy.typing import NDArray

from catalog import dispatch, services
from catalog.facts import CheckedAnswers
from catalog.labels import label_columns
from catalog.models import ModelVersion
from catalog.probe_models import ProbeAnswers, ProbeSlice
from catalog.probes import searchable
from gpuworker.core.compatibility import compatible
from gpuworker.core.errors import UserError
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS
from gpuworker.core.probesets.selection import HASH_BYTES, common_rows
from gpuworker.core.sandbox import SandboxDefect
from gpuworker.pipeline import sandboxed
from gpuworker.pipeline.background import BROKEN, give_way
from gpuworker.pipeline.calibration import calibrations_start
from gpuworker.pipeline.lease import Lease
from gpuworker.pipeline.sandboxed import RunnableVersion, Runner
from jobs.models import LIVE, Job, JobState

log = logging.getLogger(__name__)
CHUNK = 256


def version_answer(lease: Lease, version: ModelVersion, hashes: NDArray[np.uint8] | None) -> int:
    """Part of the check: run the version on every approved slice for its labels, and on its own. How many rows it has answered.

    hashes: (N, 16) of its whole reference sample, to find the rows of others in it. What was stored before a kill stays.
    """
    runnable: RunnableVersion | None = None
    for piece in _with_rows(ProbeSlice.objects.for_check_of(version)):
        runnable = runnable or RunnableVersion.of(version)
        with Runner(piece.path) as runner:
            _answer(lease, runner, runnable, version, piece, hashes)
    done = ProbeAnswers.objects.filter(version=version, error="").values_list("piece__n", flat=True)
    return sum(done)


def run_slice(lease: Lease) -> None:
    """Job catalog.probe_run: run every searchable version that has not answered the slice yet; one unit each.

    Another attempt goes on after the last unit. After each unit it gives way to whatever people wait for.
    """
    piece = _with_rows(ProbeSlice.objects.approved().filter(pk=lease.job.subject_id)).first()
    if piece is None:
        return  # withdrawn or deleted meanwhile
    _bring_up_to_date(lease, piece)
    while True:
        waiting = list(_unanswered(piece))
        if not waiting:
            break
        with Runner(piece.path) as runner:
            for place, version in enumerate(waiting):
                lease.progress(place / len(waiting), f"{len(waiting) - place} models to go")
                if not _answer(lease, runner, RunnableVersion.of(version), version, piece, _own_hashes(version)):
                    return
                if place < len(waiting) - 1:
                    give_way()
    with lease.write():
        ProbeSlice.objects.kept().filter(pk=piece.pk).update(answered=timezone.now())
        others = ProbeSlice.objects.filter(set_key=piece.set_key).exclude(pk=piece.pk)
        if not Job.objects.filter(kind=dispatch.PROBE_RUN, state__in=LIVE, subject_id__in=others.values("pk")).exists():
            calibrations_start(piece.set_key)


def slice_ended(lease: Lease, state: JobState, error: UserError | None) -> None:
    """A model that was approved after the run's last look is run by another."""
    piece = ProbeSlice.objects.approved().filter(pk=lease.job.subject_id).first()
    if state == JobState.SUCCEEDED and piece is not None and _unanswered(piece).exists():
        transaction.on_commit(partial(dispatch.probe_run, piece=piece))


def outdated_start() -> int:
    """For a worker's start: queue a run for every slice that lacks answers, for those that broke on our side included, or whose
    features are of another encoder. How many."""
    ProbeAnswers.objects.filter(error=BROKEN).delete()
    current = Q()
    for modality, module in MODALITY_IMPLEMENTATIONS.items():
        current |= Q(modality=modality, encoder=module.FEATURES_VERSION)
    ProbeSlice.objects.kept().exclude(current).update(answered=None)
    return services.probe_runs_start()


def _with_rows(slices: QuerySet[ProbeSlice]) -> QuerySet[ProbeSlice]:
    return slices.select_related("version__model").defer("features", "version__program", "version__spec").order_by("pk")


def _unanswered(piece: ProbeSlice) -> QuerySet[ModelVersion]:
    versions = searchable().filter(model__modality=piece.modality, label_key=piece.label_key)
    return versions.exclude(probe_answers__piece=piece).select_related("model").order_by("pk")


def _bring_up_to_date(lease: Lease, piece: ProbeSlice) -> None:
    """Features by the encoder of today; the rows' answers do not depend on it."""
    if piece.encoder == MODALITY_IMPLEMENTATIONS[piece.modality].FEATURES_VERSION:
        return
    lease.progress(0.0, "Computing features anew")
    features, encoder = sandboxed.probe_features(piece.path)
    with lease.write():
        services.probe_features_apply(piece=piece, encoder=encoder, features=features.astype("<f2").tobytes())


def _own_hashes(version: ModelVersion) -> NDArray[np.uint8] | None:
    """Row hashes of the version's own slice: of its reference sample nothing else is kept once it has been checked."""
    own = ProbeSlice.objects.kept().filter(version=version).values_list("row_hashes", flat=True).first()
    return np.frombuffer(bytes(own), np.uint8).reshape(-1, HASH_BYTES) if own else None


def _answer(
    lease: Lease, runner: Runner, runnable: RunnableVersion, version: ModelVersion, piece: ProbeSlice, hashes: NDArray[np.uint8] | None
) -> bool:
    """One unit: a version's answers on a slice, or why there are none, in one row. False when the slice was withdrawn meanwhile."""
    lease.check()
    why = compatible(piece.meta, version.spec["input"], version.spec["modality"])
    answers = CheckedAnswers(error=why) if why else _run(lease, runner, runnable, version, piece, hashes)
    with lease.write():
        return services.probe_answers_apply(version=version, piece=piece, answers=answers)


def _run(
    lease: Lease, runner: Runner, runnable: RunnableVersion, version: ModelVersion, piece: ProbeSlice, hashes: NDArray[np.uint8] | None
) -> CheckedAnswers:
    try:
        parts = []
        for start in range(0, piece.n, CHUNK):
            lease.check()
            parts.append(runner.run_rows(runnable, start, min(start + CHUNK, piece.n))[0])
    except UserError as error:
        return CheckedAnswers(error=str(error))
    except SandboxDefect as defect:
        log.error("version %s on probe slice %s: %s\n%s", version.pk, piece.pk, defect, defect.trace)
        return CheckedAnswers(error=BROKEN)
    log_probs = np.concatenate(parts)[:, label_columns(version.labels, piece.labels)].astype("<f2")
    seen = _seen(version, piece, hashes)
    right = (log_probs.argmax(1) == np.frombuffer(bytes(piece.row_labels or b""), "<u2")) & ~seen
    packed = np.packbits(seen).tobytes() if seen.any() else None
    return CheckedAnswers(log_probs.tobytes(), packed, int((~seen).sum()), int(right.sum()))


def _seen(version: ModelVersion, piece: ProbeSlice, hashes: NDArray[np.uint8] | None) -> NDArray[np.bool_]:
    """(n,) rows of somebody else's slice that the version's own reference sample holds too."""
    if hashes is None or piece.owner_id == version.model.owner_id:
        return np.zeros(piece.n, np.bool_)
    held = np.frombuffer(bytes(piece.row_hashes or b""), np.uint8).reshape(-1, HASH_BYTES)
    return common_rows(held, hashes)
