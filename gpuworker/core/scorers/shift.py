"""How far the samples lie from each candidate's reference sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.core.separability import separability
from gpuworker.core.signatures.features import sketch_rows

SELF_QUANTILE = 2  # place of .95 in features.SELF_LEVELS


@dataclass(frozen=True, slots=True)
class Shift:
    """distance: `separability` of target and reference in [0, 1]; excess: the part above the reference's distance from itself.

    The distance from itself is the .95 quantile over random halves of the reference: what chance alone gives.
    """

    distance: float
    excess: float


def shifts(target: TargetView, candidates: Sequence[CandidateView]) -> list[Shift | None]:
    """One shift per candidate; None where either side lacks probe features, or they are of another kind."""
    ours = sketch_rows(target.signature)
    return [None if ours is None or len(ours) < 2 else _shift(ours, candidate) for candidate in candidates]


def _shift(ours: NDArray[np.float32], candidate: CandidateView) -> Shift | None:
    theirs = sketch_rows(candidate.signature)
    if theirs is None or theirs.shape[1] != ours.shape[1] or "features.self_separability" not in candidate.signature:
        return None
    distance = separability(theirs, ours)
    chance = float(candidate.signature["features.self_separability"][SELF_QUANTILE])
    return Shift(distance, max(0.0, distance - chance))
