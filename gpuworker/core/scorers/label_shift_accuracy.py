"""Accuracy under label shift: label balance by EM (Saerens et al., Neural Computation 2002) times recall of each label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import F64, calibrated, each_alone, per_label

STEPS = 500
TOLERANCE = 1e-7
RECALL_PSEUDO = 2.0
PRIOR_PSEUDO = 0.5


def label_shift_accuracy(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1], higher is better: sum over labels of the samples' balance times the recall on the reference sample.

    True where only the balance of labels has changed. Recalls lean towards the accuracy by two rows, so that rare labels do not decide.
    """
    return each_alone(candidates, _estimate)


def _estimate(log_probs: F64, reference: Arrays) -> Estimate:
    c = log_probs.shape[1]
    counts, correct = per_label(reference, "accuracy.class_n", c), reference.get("accuracy.class_correct")
    scaled = calibrated(log_probs, reference)
    if counts is None or correct is None or scaled is None:
        return Estimate(None, why="The publisher gave no labelled reference sample, so the recall of each label is not known.")
    accuracy = correct.sum() / counts.sum()
    recall = (correct + RECALL_PSEUDO * accuracy) / (counts + RECALL_PSEUDO)
    prior = (counts + PRIOR_PSEUDO) / (counts.sum() + PRIOR_PSEUDO * c)
    return Estimate(float(np.clip(recall @ label_balance(np.exp(scaled), prior), 0.0, 1.0)))


def label_balance(probs: F64, prior: F64) -> F64:
    """(C,) most likely label balance of the samples behind (n, C) posteriors that were made under another prior (C,)."""
    ratio = probs / prior
    balance = prior
    for _ in range(STEPS):
        moved = balance * ((1 / (ratio @ balance)) @ ratio) / len(ratio)
        if np.abs(moved - balance).max() < TOLERANCE:
            return np.asarray(moved)
        balance = moved
    return np.asarray(balance)
