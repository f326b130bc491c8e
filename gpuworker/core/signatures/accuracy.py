"""Accuracy on the reference sample, as its publisher labelled it."""

from __future__ import annotations

import numpy as np

from gpuworker.core.signatures.inputs import Parts, SignatureInput


def accuracy(given: SignatureInput) -> Parts:
    """correct, n: (1,) int64; class_correct, class_n: (C,) int64, whose quotient is the recall of each class."""
    if given.log_probs is None or given.labels is None or not len(given.labels):
        return {}
    right = given.log_probs.argmax(1) == given.labels
    return {
        "correct": np.array([right.sum()], dtype=np.int64),
        "n": np.array([len(right)], dtype=np.int64),
        "class_correct": np.bincount(given.labels[right], minlength=given.n_labels).astype(np.int64),
        "class_n": np.bincount(given.labels, minlength=given.n_labels).astype(np.int64),
    }
