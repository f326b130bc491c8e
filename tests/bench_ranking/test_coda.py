"""CODA as a peer: its chances by hand where that can be, and that it finds a plain winner."""

from __future__ import annotations

import numpy as np
import pytest

from bench.ranking.coda import _begun, _best, _density, coda


def sharp(votes: np.ndarray, n_labels: int) -> np.ndarray:
    table = np.full((*votes.shape, n_labels), 0.1 / (n_labels - 1))
    np.put_along_axis(table, votes[..., None], 0.9, axis=2)
    return table


def test_the_chance_of_being_best_of_two_beta_rows_by_hand() -> None:
    """P(X > Y) of X ~ Beta(2, 1), Y ~ Beta(1, 1) is the mean of X: 2/3."""
    assert _best(*_density(np.array([2.0, 1.0]), np.array([1.0, 1.0]))).tolist() == pytest.approx([2 / 3, 1 / 3], abs=0.01)


def test_equal_rows_share_the_chance() -> None:
    assert _best(*_density(np.full(4, 3.0), np.full(4, 2.0))).tolist() == pytest.approx([0.25] * 4)


def test_the_prior_is_one_right_one_wrong_and_a_tenth_of_the_table_against_the_consensus() -> None:
    found = _begun(sharp(np.array([[0, 1], [0, 1], [1, 0]]), 2))
    assert found[0] == pytest.approx(np.array([[1.09, 1.01], [1.01, 1.09]]))
    assert found[2] == pytest.approx(np.array([[1.01, 1.09], [1.09, 1.01]]))


def test_labels_find_the_one_good_model_against_a_crowd_that_errs_together() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 80)
    crowd = np.where(rng.random(80) < 0.45, truth, (truth + 1) % 3)
    noisy = np.where(rng.random((4, 80)) < 0.9, crowd, rng.integers(0, 3, (4, 80)))
    probabilities = sharp(np.concatenate([noisy, truth[None]]), 3)
    found = coda(probabilities, truth, (0, 80), 0)
    assert found[0].argmax() != 4
    assert found[80][4] > found[0][4]
    assert found[0].sum() == pytest.approx(1)
