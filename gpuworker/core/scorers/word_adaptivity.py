"""Adaptivity of texts: how many pairs of reference and target groups use words alike (arXiv 2206.00188)."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.adaptivity_pairs import counted, divergences
from gpuworker.core.scorers.words import NO_WORDS, joint_frequencies


def word_adaptivity(target: TargetView, candidates: Sequence[CandidateView], theta: float | None = None) -> list[Estimate]:
    """value in [0, n_S], higher is closer: as `adaptivity_pairs`, from real word counts; groups without a common word never count."""
    pairs = [joint_frequencies(candidate.signature, target.signature, "group_counts") for candidate in candidates]
    return counted([None if pair is None else divergences(*pair) for pair in pairs], theta, NO_WORDS)
