"""Accuracy on the labelled probes, weighted to look like the samples (A3)."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.probe_answers import weighted


def probe_importance(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1]: accuracy under density ratios of samples to probes, between 1/20 and 20."""
    return weighted(target, candidates, lambda around: around.importance_weights)
