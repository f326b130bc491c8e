"""Agreement on the line (ALine-D: Baek et al., NeurIPS 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtr, ndtri

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import F64, ballots, told
from gpuworker.core.scorers.consensus import Votes

EDGE = 0.005  # shares this near to 0 or 1 have no finite probit worth trusting
MIN_MODELS = 3


def aline(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in (0, 1), higher is better: accuracy on the samples from accuracy on the probes, along the line that agreements show.

    On a probit scale the agreements of pairs of models on the samples are fitted as a line over those on the probes; accuracies are
    taken to lie on the same line. Solves, in least squares over all pairs, x_i + x_j = 2 agree_ij + slope (a_i + a_j - 2 probe_agree_ij)
    for x = probit accuracy on the samples, a = that on the probes. Needs three candidates that have answered both.
    """
    if target.probes is None or not len(target.probes.labels):
        return [Estimate(None, why="There are no labelled probes for these labels.")] * len(candidates)
    probed = [view if view.probe_log_probs is not None else replace(view, log_probs=None) for view in candidates]
    found = ballots(probed)
    values, why = np.zeros(0), ""
    if found is not None:
        answers = [probed[index].probe_log_probs for index in found.ran]
        probe_votes = np.stack([array.argmax(1) for array in answers if array is not None])
        values, why = _on_the_line(found.votes, probe_votes, (probe_votes == target.probes.labels).mean(1))
    unprobed = Estimate(None, why="The model has not answered the probes.")
    return [
        estimate if view.log_probs is None or view.probe_log_probs is not None else unprobed
        for view, estimate in zip(candidates, told(len(candidates), found, values, why), strict=True)
    ]


def _on_the_line(votes: Votes, probe_votes: Votes, accuracy: F64) -> tuple[F64, str]:
    """(M,) accuracies, or the accuracies on the probes and why there is no line."""
    if len(votes) < MIN_MODELS:
        return accuracy, f"A line needs at least {MIN_MODELS} models that have answered the probes; here there are {len(votes)}."
    here, there = _probit(agreements(votes)), _probit(agreements(probe_votes))
    pairs = np.triu_indices(len(votes), 1)
    spread = there[pairs] - there[pairs].mean()
    if float(spread @ spread) < 1e-9:
        return accuracy, "All pairs of models agree equally often on the probes, which shows no line."
    slope = float(spread @ here[pairs] / (spread @ spread))
    return line_accuracies(here, there, slope, _probit(accuracy)), ""


def line_accuracies(here: F64, there: F64, slope: float, probe_accuracy: F64) -> F64:
    """Least squares over all pairs i < j in closed form. here, there: (M, M) probit agreements; probe_accuracy: (M,) probits."""
    m = len(here)
    right = 2 * here + slope * (probe_accuracy[:, None] + probe_accuracy - 2 * there)
    np.fill_diagonal(right, 0.0)
    sums = right.sum(1)
    # The normal equations: (M - 2) x_i + sum of all x = sum of row i.
    total = sums.sum() / (2 * m - 2)
    return np.asarray(ndtr((sums - total) / (m - 2)))


def agreements(votes: Votes) -> F64:
    """(M, n) -> (M, M) share of samples that two rows answer alike."""
    return np.stack([(votes == row).mean(1) for row in votes])


def _probit(share: F64) -> F64:
    return np.asarray(ndtri(np.clip(share, EDGE, 1 - EDGE)))
