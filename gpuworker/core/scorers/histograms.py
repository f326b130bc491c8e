"""Histograms of two sets that can be compared: of values, or of the words they use most together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.protocols import Arrays
from gpuworker.core.scorers.words import joint_frequencies
from gpuworker.core.signatures.divergence import normalised

NO_HISTOGRAM = "The behaviour signature has no histogram to compare with your samples."


def joint_histograms(
    a: Arrays, b: Arrays, values: str = "value_histogram.counts", words: str = "counts"
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Frequencies (..., K) of both sets from the array named `values`, else from the word counts' part `words`; None without either."""
    if values in a and values in b:
        return normalised(a[values]), normalised(b[values])
    return joint_frequencies(a, b, words)
