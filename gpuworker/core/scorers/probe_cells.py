"""Accuracy on the labelled probes, cell by cell (A1)."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.probe_answers import weighted


def probe_cells(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1]: accuracy in every cell of the shared codebook, weighted by the samples' share of each."""
    return weighted(target, candidates, lambda around: around.cell_weights)
