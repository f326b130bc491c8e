"""Squared Hellinger distance between value or word histograms (arXiv 2010.09474)."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.histograms import NO_HISTOGRAM, joint_histograms
from gpuworker.core.signatures import divergence


def hellinger_sq(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value H2 in [0, 1], lower is closer: ||sqrt p - sqrt q||^2 / 2 of the histograms of `jsd_hist`; ln 2 * H2 <= JSD <= H2."""
    pairs = [joint_histograms(candidate.signature, target.signature) for candidate in candidates]
    return [Estimate(None, why=NO_HISTOGRAM) if pair is None else Estimate(float(divergence.hellinger_sq(*pair))) for pair in pairs]
