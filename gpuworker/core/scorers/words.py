"""Word frequencies of two sets over the words they use most together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.protocols import Arrays
from gpuworker.core.signatures.divergence import normalised
from gpuworker.core.signatures.word_counts import joint_columns, take_columns

WORDS = 300
NO_WORDS = "The behaviour signature or your samples have no words to compare."


def joint_frequencies(a: Arrays, b: Arrays, part: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Frequencies over the 300 most frequent words of both sets together, renormalised; None where a set has no words.

    part: "counts" gives (K,) each, "group_counts" (G, K) each.
    """
    if not all("word_counts.ids" in signature and len(signature["word_counts.ids"]) for signature in (a, b)):
        return None
    in_a, in_b = joint_columns(a["word_counts.ids"], a["word_counts.counts"], b["word_counts.ids"], b["word_counts.counts"], WORDS)
    return normalised(take_columns(a[f"word_counts.{part}"], in_a)), normalised(take_columns(b[f"word_counts.{part}"], in_b))
