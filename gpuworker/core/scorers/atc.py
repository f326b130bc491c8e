"""Average thresholded confidence (Garg et al., ICLR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.intervals import LEVEL, Z, wilson
from gpuworker.core.scorers.shift import Shift, shifts
from gpuworker.core.signatures.outputs import max_confidence

MIN_SAMPLES = 30
MIN_REFERENCE = 30
MAX_SHIFT = 0.5


def atc(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1]: share of samples at least as confident as the threshold that matched held-out accuracy.

    The interval adds three parts: the samples (Wilson), the threshold (bootstrap of the reference rows), and the shift: an
    accuracy can move by as much as the two distributions can be told apart. Cannot tell without outputs, signature or probe
    features, below 30 samples or reference rows, past a shift of .5, and for degenerate outputs.
    """
    return estimates(candidates, shifts(target, candidates))


def estimates(candidates: Sequence[CandidateView], measured: Sequence[Shift | None]) -> list[Estimate]:
    """The same with the shifts already measured."""
    return [_estimate(candidate, shift) for candidate, shift in zip(candidates, measured, strict=True)]


def _estimate(candidate: CandidateView, shift: Shift | None) -> Estimate:
    log_probs, reference = candidate.log_probs, candidate.signature
    if log_probs is None or not len(log_probs):
        return Estimate(None, why="The model has not run on your samples.")
    if "atc_thresholds.max_confidence" not in reference:
        return Estimate(None, why="The publisher gave no labelled reference sample, so there is no threshold to count against.")
    if np.isnan(log_probs).any():
        return Estimate(None, why="The model's outputs are not numbers.")
    confidence = max_confidence(log_probs)
    value = float((confidence >= reference["atc_thresholds.max_confidence"][0]).mean())
    why = _why_not(log_probs, confidence, reference, shift)
    if why or shift is None:
        return Estimate(None, why=why, diagnostic=value)
    low, high = wilson(value, len(confidence))
    spread = Z * float((confidence[None] >= reference["atc_thresholds.max_confidence_replicates"][:, None]).mean(1).std())
    below = sqrt((value - low) ** 2 + spread**2) + shift.excess
    above = sqrt((high - value) ** 2 + spread**2) + shift.excess
    return Estimate(value, max(0.0, value - below), min(1.0, value + above), LEVEL)


def _why_not(log_probs: NDArray[np.float32], confidence: NDArray[np.float64], reference: Arrays, shift: Shift | None) -> str:
    n, n_reference = len(confidence), int(reference["atc_thresholds.n"][0])
    if n < MIN_SAMPLES:
        return f"Only {n} samples have been run; an estimate needs at least {MIN_SAMPLES}."
    if n_reference < MIN_REFERENCE:
        return f"The reference sample has only {n_reference} rows; a threshold needs at least {MIN_REFERENCE}."
    if shift is None:
        return "How far your samples lie from the reference sample is not known: probe features are missing or too few."
    if shift.excess > MAX_SHIFT:
        return f"Your samples lie too far from the reference sample ({shift.distance:.0%} can be told apart)."
    if float(np.ptp(confidence)) < 1e-6:
        return "The model answers every sample with the same confidence."
    reference_classes = reference.get("output_stats.class_counts", np.zeros(0))
    if len(np.unique(log_probs.argmax(1))) == 1 and (reference_classes > 0).sum() > 1:
        return "The model gives one label to all your samples, but several to its reference sample."
    return ""
