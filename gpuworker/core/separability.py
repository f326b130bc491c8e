"""How well two sets of feature rows can be told apart, and to which of them each row leans. Needs NumPy alone: the web asks too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def separability(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """2 * balanced accuracy - 1 of `leanings` on (N_a, D) against (N_b, D); in [0, 1].

    0: cannot be told apart; 1: every row shows which set it comes from. It bounds the total variation distance of the
    two distributions from below, and with it how far an accuracy can differ between them. Needs two rows on each side, else gives 0.
    """
    if min(len(a), len(b)) < 2:
        return 0.0
    to_a, to_b = leanings(a, b)
    balanced = (_share_below_zero(to_a) + 1 - _share_below_zero(to_b)) / 2
    return float(np.clip(2 * balanced - 1, 0.0, 1.0))


def leanings(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(N_a,) and (N_b,): how much nearer each row is to the mean of b than to that of a; below 0 it is nearer to a.

    A leave-one-out diagonal discriminant: no row is judged by means that it is part of, so that sets drawn alike lean nowhere.
    Features enter standardised and squared, so that a change of spread counts as well. The discriminant treats features as
    independent, which holds up best with few rows and many features (Bickel and Levina, Bernoulli 2004). Needs two rows on each side.
    """
    n_a, n_b = len(a), len(b)
    rows = np.concatenate([a, b]).astype(np.float32)
    z = (rows - rows.mean(0)) / (rows.std(0) + 1e-6)
    x = np.concatenate([z, np.minimum(z * z, 25.0)], axis=1)
    mean_a, mean_b = x[:n_a].mean(0), x[n_a:].mean(0)
    precision = 1 / (((x[:n_a] - mean_a) ** 2).sum(0) + ((x[n_a:] - mean_b) ** 2).sum(0) + 1e-3) * (n_a + n_b)
    to_a, to_b = ((x - mean_a) ** 2) @ precision, ((x - mean_b) ** 2) @ precision
    # Leaving a row out of its own mean moves it from the mean by n / (n - 1).
    to_a[:n_a] *= (n_a / (n_a - 1)) ** 2
    to_b[n_a:] *= (n_b / (n_b - 1)) ** 2
    lean = to_a - to_b
    return lean[:n_a], lean[n_a:]


def _share_below_zero(lean: NDArray[np.float32]) -> float:
    """A row at 0 counts half."""
    return float(np.where(lean == 0, 0.5, lean < 0).mean())
