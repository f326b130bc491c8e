"""Jensen-Shannon divergence between value or word histograms (arXiv 2206.00188)."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.histograms import NO_HISTOGRAM, joint_histograms
from gpuworker.core.signatures.divergence import jsd


def jsd_hist(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, ln 2], lower is closer: 100-bin value histograms, or the 300 most frequent words of both sets."""
    pairs = [joint_histograms(candidate.signature, target.signature) for candidate in candidates]
    return [Estimate(None, why=NO_HISTOGRAM) if pair is None else Estimate(float(jsd(*pair))) for pair in pairs]
