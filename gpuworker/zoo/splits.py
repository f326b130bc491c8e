"""Which rows train, which are the labelled reference, which are scored; no sample stands on two sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.modalities.batches import row_digests
from gpuworker.zoo.reading import Samples

REFERENCE_SHARE = 0.3
MOST_TRAIN = 2_000
MOST_REFERENCE = 400


@dataclass(frozen=True, slots=True)
class Rows:
    """Row numbers into one domain's samples, each (k,) int64 and sorted."""

    train: NDArray[np.int64]
    reference: NDArray[np.int64]
    score: NDArray[np.int64]


class Overlap(Exception):
    """A sample stands on two sides of a split."""


def split(domains: Sequence[Samples], seed: int) -> list[Rows]:
    """One `Rows` per domain. Test rows are the same for all seeds; a sample that stands twice is kept on one side only."""
    digests = [row_digests(samples.batch) for samples in domains]
    drawn = [_draw(samples, np.random.default_rng([seed, place])) for place, samples in enumerate(domains)]
    trained = {digests[d][row] for d, rows in enumerate(drawn) for row in rows.train.tolist()}
    free = [Rows(rows.train, _without(rows.reference, digests[d], trained), rows.score) for d, rows in enumerate(drawn)]
    known = trained | {digests[d][row] for d, rows in enumerate(free) for row in rows.reference.tolist()}
    result = [Rows(rows.train, rows.reference, _without(rows.score, digests[d], known)) for d, rows in enumerate(free)]
    require_disjoint(digests, result)
    return result


def require_disjoint(digests: Sequence[Sequence[bytes]], rows: Sequence[Rows]) -> None:
    """digests: one per row and domain, equal for equal samples. Raises Overlap when a sample stands on two sides, of any domain."""
    sides = {
        side: {digests[d][row] for d, part in enumerate(rows) for row in getattr(part, side).tolist()}
        for side in ("train", "reference", "score")
    }
    for one, other in (("train", "reference"), ("train", "score"), ("reference", "score")):
        shared = len(sides[one] & sides[other])
        if shared:
            raise Overlap(f"{shared} samples stand in both {one} and {other}")


def _draw(samples: Samples, rng: np.random.Generator) -> Rows:
    open_rows = np.flatnonzero(~samples.test)
    recordings = rng.permutation(np.unique(samples.recordings[open_rows]))
    counts = {int(number): int(count) for number, count in zip(*np.unique(samples.recordings[open_rows], return_counts=True), strict=True)}
    sizes = np.cumsum([counts[int(number)] for number in recordings])
    held = recordings[: int(np.searchsorted(sizes, REFERENCE_SHARE * len(open_rows))) + 1] if len(recordings) > 1 else recordings[:0]
    is_held = np.isin(samples.recordings[open_rows], held)
    return Rows(
        _some(open_rows[~is_held], MOST_TRAIN, rng),
        _some(open_rows[is_held], MOST_REFERENCE, rng),
        np.flatnonzero(samples.test).astype(np.int64),
    )


def _some(rows: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(rng.permutation(rows)[:most])


def _without(rows: NDArray[np.int64], digests: Sequence[bytes], known: set[bytes]) -> NDArray[np.int64]:
    return np.array([row for row in rows.tolist() if digests[row] not in known], np.int64)
