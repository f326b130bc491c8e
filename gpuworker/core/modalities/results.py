"""The last step of every reader: labels, limit, duplicates."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.modalities.batches import row_digests, take
from gpuworker.core.modalities.options import ReadOptions
from gpuworker.core.modalities.problems import ProblemLog
from gpuworker.core.modalities.records import labels_of
from gpuworker.core.modalities.sheets import Cell
from gpuworker.core.protocols import ReadResult, SampleBatch


def finish(
    batch: SampleBatch,
    cells: Sequence[Cell] | None,
    stored_names: Sequence[str],
    origin: Sequence[tuple[str, int]],
    options: ReadOptions,
    log: ProblemLog,
    near_keys: Callable[[SampleBatch], Sequence[Hashable]],
    fix: str,
) -> ReadResult:
    """Drop rows without a label when there are labels, keep the first `limit` rows, count duplicates.

    cells: the label of each row as found, or None. near_keys: equal keys mean nearly equal samples; a key must be a
    function of the sample alone. Raises UnreadableSamples when no row is left.
    """
    labels: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()
    if cells is not None and options.labels_from != "none" and any(cell is not None for cell in cells):
        labels, names = labels_of(cells, options.label_names or stored_names, origin, log)
        kept = np.flatnonzero(labels >= 0)
        batch, labels = (batch if kept.size == batch.n else take(batch, kept)), labels[kept]
    if options.limit and batch.n > options.limit:
        batch = take(batch, np.arange(options.limit))
        labels = None if labels is None else labels[: options.limit]
    if batch.n == 0:
        raise log.nothing_usable(fix)
    distinct = len(set(row_digests(batch)))
    near = len(set(near_keys(batch)))
    return ReadResult(batch, log.finish(), labels, names, batch.n - distinct, max(distinct - near, 0))
