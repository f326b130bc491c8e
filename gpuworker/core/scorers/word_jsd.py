"""Jensen-Shannon divergence between word frequencies (arXiv 2206.00188)."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.words import NO_WORDS, joint_frequencies
from gpuworker.core.signatures.divergence import jsd


def word_jsd(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, ln 2], lower is closer: over the 300 most frequent words of both sets together."""
    pairs = [joint_frequencies(candidate.signature, target.signature, "counts") for candidate in candidates]
    return [Estimate(None, why=NO_WORDS) if pair is None else Estimate(float(jsd(*pair))) for pair in pairs]
