"""One space for the feature sketches of a search: target and candidates on the same axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpuworker.core.probes.algebra import F64, principal_axes
from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.core.signatures.features import sketch_rows

AXES = 32
FITTED_ROWS = 16_384
NO_FEATURES = "The probe features of the reference sample or of your samples are missing, or of another kind."


@dataclass(frozen=True, slots=True)
class FeatureSpace:
    """target: (R, d) sketch on at most 32 axes, the largest spread first; candidates: theirs, None where there is no such sketch."""

    target: F64
    candidates: list[F64 | None]


def feature_space(target: TargetView, candidates: Sequence[CandidateView]) -> FeatureSpace | None:
    """Principal axes of all sketches together, columns at spread 1 first; None where the target has no sketch.

    Distances on them compare candidates of one search; they are not the same numbers in another one.
    """
    ours = sketch_rows(target.signature)
    if ours is None or not len(ours):
        return None
    sketches = [sketch_rows(candidate.signature) for candidate in candidates]
    usable = [rows is not None and len(rows) > 0 and rows.shape[1] == ours.shape[1] for rows in sketches]
    theirs = [rows if use else None for rows, use in zip(sketches, usable, strict=True)]
    each = max(4, FITTED_ROWS // (1 + sum(usable)))
    fitted = np.concatenate([ours, *(rows[:each] for rows in theirs if rows is not None)]).astype(np.float64)
    # No least spread: columns have units of their own, and what a small one says counts as much.
    axes = principal_axes(fitted, AXES, 0.0)
    return FeatureSpace(axes(ours), [None if rows is None else axes(rows) for rows in theirs])
