"""Behaviour signatures: small arrays that say what a set of samples looks like and how a model answers it.

The same functions run on a publisher's reference sample (with labels and outputs) and on a searcher's sample set (without).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuworker.core import specs
from gpuworker.core.errors import ExecutionFailed
from gpuworker.core.signatures.accuracy import accuracy
from gpuworker.core.signatures.atc_thresholds import REPLICATES, atc_thresholds
from gpuworker.core.signatures.calibration import ECE_BINS, calibration
from gpuworker.core.signatures.class_histogram import class_histogram
from gpuworker.core.signatures.clusters import CLUSTER_ROWS, CLUSTERED_ROWS, MAX_CLUSTERS
from gpuworker.core.signatures.divergence import BINS
from gpuworker.core.signatures.features import SELF_LEVELS, SKETCH_BYTES, SKETCH_ROWS, SPLITS, features
from gpuworker.core.signatures.inputs import Parts, SignatureInput
from gpuworker.core.signatures.minhash import HASHES
from gpuworker.core.signatures.output_stats import CONFIDENCE_BINS, output_stats
from gpuworker.core.signatures.value_center import MAX_VALUES, value_center
from gpuworker.core.signatures.value_groups import GROUP_ROWS, MAX_GROUPS, value_groups
from gpuworker.core.signatures.value_histogram import value_histogram
from gpuworker.core.signatures.word_counts import MAX_WORDS, word_counts

FUNCTIONS: dict[str, Callable[[SignatureInput], Parts]] = {
    "value_histogram": value_histogram,
    "value_groups": value_groups,
    "value_center": value_center,
    "word_counts": word_counts,
    "features": features,
    "class_histogram": class_histogram,
    "output_stats": output_stats,
    "accuracy": accuracy,
    "calibration": calibration,
    "atc_thresholds": atc_thresholds,
}

RECIPE = "2"
_CONSTANTS = (
    BINS,
    GROUP_ROWS,
    MAX_GROUPS,
    MAX_VALUES,
    MAX_WORDS,
    CLUSTER_ROWS,
    MAX_CLUSTERS,
    CLUSTERED_ROWS,
    HASHES,
    SKETCH_ROWS,
    SKETCH_BYTES,
    SPLITS,
    SELF_LEVELS,
    CONFIDENCE_BINS,
    ECE_BINS,
    REPLICATES,
)


def recipe_hash() -> str:
    """16 hex digits that change with RECIPE, the list of parts, or one of their sizes."""
    return blake2b(json.dumps([RECIPE, sorted(FUNCTIONS), _CONSTANTS]).encode(), digest_size=8).hexdigest()


def compute(
    modality: str,
    *,
    values: NDArray[Any] | None = None,
    words: Sequence[Sequence[str]] | None = None,
    features: NDArray[np.float32] | None = None,
    labels: NDArray[np.int64] | None = None,
    n_labels: int = 0,
    log_probs: NDArray[np.float32] | None = None,
) -> dict[str, NDArray[Any]]:
    """Every part whose inputs are given, as one flat table "part.array" -> array (contiguous, tens of kilobytes in all).

    Shapes as in `SignatureInput`. Raises ValueError when lengths or label indexes do not fit together, ExecutionFailed when
    log_probs holds NaN or +inf.
    """
    given = SignatureInput(modality, values, words, features, labels, n_labels, log_probs)
    _check(given)
    result: dict[str, NDArray[Any]] = {}
    for key, function in FUNCTIONS.items():
        if modality in specs.SIGNATURES[key].modalities:
            result.update({f"{key}.{name}": np.ascontiguousarray(array) for name, array in function(given).items()})
    return result


def content_hash(
    modality: str,
    *,
    values: NDArray[Any] | None = None,
    words: Sequence[Sequence[str]] | None = None,
    features: NDArray[np.float32] | None = None,
    labels: NDArray[np.int64] | None = None,
    n_labels: int = 0,
    log_probs: NDArray[np.float32] | None = None,
) -> str:
    """32 hex digits over the recipe and everything `compute` reads: an equal hash means the stored signature still holds."""
    digest = blake2b(f"{recipe_hash()}|{modality}|{n_labels}".encode(), digest_size=16)
    for name, array in (("values", values), ("features", features), ("labels", labels), ("log_probs", log_probs)):
        if array is not None:
            digest.update(f"|{name}:{array.dtype.str}:{array.shape}|".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    if words is not None:
        digest.update(json.dumps(["words", [list(row) for row in words]]).encode())
    return digest.hexdigest()


def _check(given: SignatureInput) -> None:
    if given.modality not in specs.MODALITIES:
        raise ValueError(f"unknown modality {given.modality!r}")
    lengths = {len(part) for part in (given.values, given.words, given.features, given.labels, given.log_probs) if part is not None}
    if len(lengths) > 1:
        raise ValueError(f"the parts of one sample set differ in length: {sorted(lengths)}")
    labels, log_probs = given.labels, given.log_probs
    if labels is not None and len(labels) and not (labels.min() >= 0 and labels.max() < given.n_labels):
        raise ValueError(f"labels must be in [0, {given.n_labels}), found {labels.min()} to {labels.max()}")
    if log_probs is None:
        return
    if log_probs.ndim != 2 or log_probs.shape[1] != given.n_labels:
        raise ValueError(f"log_probs must be (N, {given.n_labels}), found {log_probs.shape}")
    if np.isnan(log_probs).any() or np.isposinf(log_probs).any():
        raise ExecutionFailed(
            "The model gave NaN or infinity on its reference sample.",
            detail=f"In {int((~(log_probs < np.inf)).any(1).sum())} of {len(log_probs)} rows.",
            fix="Check the input spec (scale, mean and std), then publish again.",
        )
