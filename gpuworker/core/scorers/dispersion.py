"""How far apart the samples of different predicted labels lie (Xie et al., NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import F64, each_alone


def dispersion(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1], higher is better: part of the samples' spread that lies between the means of the predicted labels.

    sum_k n_k ||mean_k - mean||^2 / sum_i ||x_i - mean||^2. x: the samples' probe features, each column at spread 1, where they are given
    (the same for every model, so that models can be compared), else the model's own log-probabilities. 0 for one label or equal x.
    """

    def estimate(log_probs: F64, reference: Arrays) -> Estimate:
        labels = log_probs.argmax(1)
        shared = target.features is not None and len(target.features) >= len(labels)
        rows = _standard(target.features[: len(labels)]) if shared and target.features is not None else log_probs
        return Estimate(between_share(rows, labels))

    return each_alone(candidates, estimate)


def between_share(rows: F64, labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    """Part of the (n, D) rows' sum of squares that lies between groups; in [0, 1]."""
    centred = rows - rows.mean(0)
    total = float((centred**2).sum())
    if total <= 0:
        return 0.0
    sums = np.zeros((labels.max() + 1, rows.shape[1]))
    np.add.at(sums, labels, centred)
    counts = np.bincount(labels)
    between = float(((sums**2).sum(1) / np.maximum(counts, 1)).sum())
    return min(1.0, between / total)


def _standard(features: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> F64:
    rows = np.nan_to_num(features.astype(np.float64), posinf=0.0, neginf=0.0)
    spread = rows.std(0)
    return np.asarray((rows - rows.mean(0)) / np.where(spread > 0, spread, 1.0))
