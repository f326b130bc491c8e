"""Shared vocabulary, estimated from min-wise hashes (Broder, SEQUENCES 1997; arXiv 2010.09474)."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.words import NO_WORDS

KEY = "word_counts.minhash"


def minhash_jaccard(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1], higher is closer: words of both sets as a share of the words of either, however often they occur.

    The share of 128 equal hashes, right to within sqrt(J (1 - J) / 128) (one standard deviation).
    """
    return [_estimate(candidate.signature, target.signature) for candidate in candidates]


def _estimate(reference: Arrays, target: Arrays) -> Estimate:
    if KEY not in reference or KEY not in target:
        return Estimate(None, why=NO_WORDS)
    return Estimate(float((reference[KEY] == target[KEY]).mean()))
