"""Mean, spread and a sketch of the modality's probe features, with the set's distance from itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.protocols import Arrays
from gpuworker.core.separability import separability
from gpuworker.core.signatures.inputs import Parts, SignatureInput, array_order

SKETCH_ROWS = (64, 128)
SKETCH_BYTES = 98_304
SPLITS = 20
SELF_LEVELS = (0.5, 0.9, 0.95, 1.0)
MIN_ROWS = 30
HALF_MAX = 65_504.0


def features(given: SignatureInput) -> Parts:
    """mean, std: (D,) float32; sketch: (R, D) float16, 64 to 128 rows chosen by content.

    The sketch is rounded the same way in every set: scaled by a set's own mean and spread, rounding alone would tell two sets apart.

    self_separability: (4,) float32, quantiles .5, .9, .95 and 1 of `separability` between random halves of the sketch: what
    chance alone gives for this set. Left out below 30 rows, where it means nothing.

    sketch_right: (R,) bool, whether the model answers the sketch's rows as labelled; only with labels and outputs.
    """
    if given.features is None or not len(given.features):
        return {}
    rows = np.nan_to_num(np.asarray(given.features, dtype=np.float32), posinf=0.0, neginf=0.0)
    mean, std = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    most = int(np.clip(SKETCH_BYTES // (2 * rows.shape[1]), *SKETCH_ROWS))
    order = array_order(rows)[:most]
    picked = rows[order]
    parts: Parts = {
        "mean": mean.astype(np.float32),
        "std": std.astype(np.float32),
        "sketch": np.clip(picked, -HALF_MAX, HALF_MAX).astype(np.float16),
        "n": np.array([len(rows)], dtype=np.int64),
    }
    if given.log_probs is not None and given.labels is not None:
        parts["sketch_right"] = given.log_probs[order].argmax(1) == given.labels[order]
    if len(picked) >= MIN_ROWS:
        parts["self_separability"] = np.quantile(_self_distances(picked), SELF_LEVELS).astype(np.float32)
    return parts


def _self_distances(rows: NDArray[np.float32]) -> list[float]:
    rng = np.random.default_rng(0)
    half = len(rows) // 2
    shuffles = [rng.permutation(len(rows)) for _ in range(SPLITS)]
    return [separability(rows[order[:half]], rows[order[half:]]) for order in shuffles]


def sketch_rows(signature: Arrays) -> NDArray[np.float32] | None:
    """The sketch of a stored signature, (R, D) float32; None where there is none."""
    if "features.sketch" not in signature:
        return None
    return np.asarray(signature["features.sketch"], dtype=np.float32)


def sketch_right(signature: Arrays) -> NDArray[np.bool_] | None:
    """(R,) whether the model answers each row of the sketch as labelled; None where labels or outputs were missing."""
    return np.asarray(signature["features.sketch_right"], dtype=bool) if "features.sketch_right" in signature else None
