"""Histogram of all values of a sample set."""

from __future__ import annotations

from gpuworker.core.signatures.divergence import histogram
from gpuworker.core.signatures.inputs import Parts, SignatureInput


def value_histogram(given: SignatureInput) -> Parts:
    """counts: (100,) int64 over all values after one global min-max (arXiv 2206.00188)."""
    if given.values is None or not given.values.size:
        return {}
    return {"counts": histogram(given.values)}
