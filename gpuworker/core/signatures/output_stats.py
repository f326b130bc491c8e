"""What a model answers, whether right or wrong."""

from __future__ import annotations

import numpy as np

from gpuworker.core.signatures.inputs import Parts, SignatureInput
from gpuworker.core.signatures.outputs import max_confidence, negative_entropy

CONFIDENCE_BINS = 20


def output_stats(given: SignatureInput) -> Parts:
    """class_counts: (C,) int64 arg-max counts; confidence_counts: (20,) int64 over [0, 1].

    mean_confidence: (1,) mean of the highest probability; mean_entropy: (1,) nats.
    """
    log_probs = given.log_probs
    if log_probs is None or not len(log_probs):
        return {}
    confidence = max_confidence(log_probs)
    counts, _ = np.histogram(confidence, bins=CONFIDENCE_BINS, range=(0.0, 1.0))
    return {
        "class_counts": np.bincount(log_probs.argmax(1), minlength=log_probs.shape[1]).astype(np.int64),
        "confidence_counts": counts.astype(np.int64),
        "mean_confidence": np.array([confidence.mean()]),
        "mean_entropy": np.array([-negative_entropy(log_probs).mean()]),
    }
