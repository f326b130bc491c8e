"""Jensen-Shannon divergence between value or word histograms (arXiv 2206.00188)."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.words import joint_frequencies
from gpuworker.core.signatures.divergence import jsd, normalised


def jsd_hist(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, ln 2], lower is closer: 100-bin value histograms, or the 300 most frequent words of both sets."""
    return [_distance(candidate.signature, target.signature) for candidate in candidates]


def _distance(reference: Arrays, target: Arrays) -> Estimate:
    key = "value_histogram.counts"
    if key in reference and key in target:
        return Estimate(float(jsd(normalised(reference[key]), normalised(target[key]))))
    words = joint_frequencies(reference, target, "counts")
    if words is not None:
        return Estimate(float(jsd(*words)))
    return Estimate(None, why="The behaviour signature has no histogram to compare with your samples.")
