"""Score thresholds whose exceedance on the reference sample equals held-out accuracy (Garg et al., ICLR 2022)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.signatures.inputs import Parts, SignatureInput
from gpuworker.core.signatures.outputs import max_confidence, negative_entropy

REPLICATES = 200


def atc_thresholds(given: SignatureInput) -> Parts:
    """max_confidence: (1,) in [0, 1]; negative_entropy: (1,) in nats; n: (1,) reference rows behind them.

    max_confidence_replicates: (200,) float32, the threshold in bootstrap resamples of the reference rows, sorted.
    """
    if given.log_probs is None or given.labels is None or not len(given.labels):
        return {}
    right = given.log_probs.argmax(1) == given.labels
    confidence = max_confidence(given.log_probs)
    # Sorted first, so that the resamples do not depend on the order of the rows.
    order = np.lexsort((right, confidence))
    picks = np.random.default_rng(0).integers(0, len(right), (REPLICATES, len(right)))
    replicates = [threshold(confidence[order][pick], right[order][pick]) for pick in picks]
    return {
        "max_confidence": np.array([threshold(confidence, right)]),
        "negative_entropy": np.array([threshold(negative_entropy(given.log_probs), right)]),
        "max_confidence_replicates": np.sort(np.array(replicates, dtype=np.float32)),
        "n": np.array([len(right)], dtype=np.int64),
    }


def threshold(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """The score that as many rows reach (>=) as were answered rightly; above all scores when none was."""
    correct = int(right.sum())
    if correct == 0:
        return float(np.nextafter(scores.max(), np.inf))
    return float(np.partition(scores, len(scores) - correct)[len(scores) - correct])
