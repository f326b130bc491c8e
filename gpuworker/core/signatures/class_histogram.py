"""Class balance of a labelled set."""

from __future__ import annotations

import numpy as np

from gpuworker.core.signatures.inputs import Parts, SignatureInput


def class_histogram(given: SignatureInput) -> Parts:
    """counts: (C,) int64 samples per label."""
    if given.labels is None:
        return {}
    return {"counts": np.bincount(given.labels, minlength=given.n_labels).astype(np.int64)}
