"""Euclidean distance between word frequencies (arXiv 2206.00188)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.words import NO_WORDS, joint_frequencies


def word_l2(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, sqrt 2], lower is closer: over the 300 most frequent words of both sets together."""
    pairs = [joint_frequencies(candidate.signature, target.signature, "counts") for candidate in candidates]
    return [Estimate(None, why=NO_WORDS) if pair is None else Estimate(float(np.linalg.norm(pair[0] - pair[1]))) for pair in pairs]
