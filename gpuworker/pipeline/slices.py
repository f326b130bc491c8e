"""Rows for a probe set: out of a reference sample at the check of its version, or out of samples that people labelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog import services
from catalog.facts import CheckedSlice
from catalog.probe_models import ProbeSlice
from catalog.storage import labelled_folder, remove_folder
from gpuworker.core.errors import UnreadableSamples
from gpuworker.core.modalities.batches import dump_batch, load_batch, take
from gpuworker.core.probesets.selection import kept_rows
from gpuworker.pipeline import sandboxed
from gpuworker.pipeline.lease import Lease
from gpuworker.pipeline.sandboxed import SampleRows
from search.labelling_models import Confirmation
from search.labelling_probes import LEAST_ROWS


def slice_write(given: SampleRows, labels: NDArray[np.int64], target: Path, set_key: str, meta: dict[str, Any]) -> CheckedSlice:
    """Write the rows that a slice keeps to `target`, whole or not at all; what the row of the slice is to say. labels: (N,)."""
    rows = kept_rows(labels, given.hashes)
    kept = dump_batch(take(load_batch(given.batch), rows))
    partial = target.with_suffix(".new")
    partial.write_bytes(kept)
    partial.replace(target)
    return CheckedSlice(
        set_key=set_key,
        meta=meta,
        encoder=given.encoder,
        n=len(rows),
        features=given.features[rows].astype("<f2").tobytes(),
        row_hashes=given.hashes[rows].tobytes(),
        row_labels=labels[rows].astype("<u2").tobytes(),
        file_bytes=len(kept),
    )


def make_slice(lease: Lease) -> None:
    """Job catalog.probe_make: take the rows of a slice out of the samples of the search whose owner gave them.

    Can be done again after every step: the file is replaced whole, the row is written once at the end. Raises UnreadableSamples
    when the samples are gone, or too many of them are equal.
    """
    piece = ProbeSlice.objects.unmade().filter(pk=lease.job.subject_id).first()
    if piece is None:
        return  # made by an attempt before, or withdrawn
    source = Confirmation.objects.filter(piece=piece).select_related("search__sample_set").first()
    if source is None:
        return  # the search is being deleted, which withdraws the slice
    lease.progress(0.1, f"Reading {piece.n} labelled samples")
    items, labels = (np.array(column, np.int64) for column in zip(*source.piece_rows, strict=True))
    given = sandboxed.take_samples(source.search.sample_set.batch_path, items)
    lease.progress(0.8, "Keeping them")
    piece.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    checked = slice_write(given, labels, piece.path, piece.set_key, piece.meta)
    if checked.n < LEAST_ROWS:
        remove_folder(labelled_folder(piece.pk))
        raise UnreadableSamples(
            "Too many of the labelled samples are equal.",
            detail=f"{checked.n} of {len(labels)} are different; {LEAST_ROWS} are needed.",
            fix="Label more samples, then give them again.",
        )
    with lease.write():
        stored = services.labelled_slice_apply(piece=piece, checked=checked)
    if not stored:
        remove_folder(labelled_folder(piece.pk))
