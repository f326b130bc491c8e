"""Accuracy on the labelled probes nearest to the samples (A2)."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.probe_answers import weighted


def probe_neighbours(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1]: mean over the samples of the accuracy on their 20 nearest probes, the nearer the heavier."""
    return weighted(target, candidates, lambda around: around.neighbour_weights)
