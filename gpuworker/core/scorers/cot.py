"""Confidence by optimal transport (Lu et al., NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from gpuworker.core.protocols import Arrays, CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import F64, calibrated, each_alone, per_label
from gpuworker.core.signatures.inputs import array_order

ROWS = 500  # an assignment costs the cube of the rows: 20 ms for 500


def cot(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1], higher is better: 1 - cost of moving the calibrated predictions onto labels in the reference's balance.

    Giving label y to a sample costs 1 - p_y, which is half the L1 distance to the one-hot vector of y. Exact for up to 500 samples; of
    more, 500 are taken by their content.
    """
    return each_alone(candidates, _estimate)


def _estimate(log_probs: F64, reference: Arrays) -> Estimate:
    balance = per_label(reference, "class_histogram.counts", log_probs.shape[1])
    scaled = calibrated(log_probs, reference)
    if balance is None or scaled is None:
        return Estimate(None, why="The publisher gave no labelled reference sample, so there is no balance of labels to move towards.")
    rows = scaled[array_order(scaled)[:ROWS]] if len(scaled) > ROWS else scaled
    return Estimate(1 - transport_cost(np.exp(rows), balance / balance.sum()))


def transport_cost(probs: F64, balance: F64) -> float:
    """Least mean of 1 - p_y over ways to give (n, C) samples labels y in the balance (C,), rounded to whole samples; in [0, 1]."""
    quota = shares(balance, len(probs))
    labels = np.repeat(np.arange(len(balance)), quota)
    cost = 1 - probs[:, labels]
    return float(np.clip(cost[linear_sum_assignment(cost)].mean(), 0.0, 1.0))


def shares(balance: F64, n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """n things shared out by a balance that sums to 1, largest remainders first, earlier labels first among equals."""
    exact = balance * n
    whole = np.floor(exact + 1e-9).astype(np.int64)
    rest = np.argsort(whole - exact, kind="stable")[: n - whole.sum()]
    whole[rest] += 1
    return whole
