"""Label shares among the samples, against least squares by another route and in a world where they are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from gpuworker.core.probes import settle
from gpuworker.core.probes.marginal import CAUTION, apart, confusion_tables, label_shares, probe_shares, shifted, skill
from gpuworker.core.scorers.anchor import judge
from gpuworker.core.scorers.answers import ballots
from tests.core.probes.worlds import world


def tables(rng, models, labels, accuracy=0.7):
    noise = rng.dirichlet(np.ones(labels), (models, labels)).transpose(0, 2, 1)
    return accuracy * np.eye(labels) + (1 - accuracy) * noise


def test_confusion_of_a_hand_made_model():
    votes = np.array([[0, 0, 1, 1, 1, 1]])
    labels = np.array([0, 0, 0, 0, 1, 1])
    found = confusion_tables(votes, labels, np.full((1, 6), 1e9), 2)[0]
    assert found == pytest.approx(np.array([[0.5, 0.0], [0.5, 1.0]]), abs=1e-6)


def test_a_label_without_probes_gets_the_errors_of_the_others():
    found = confusion_tables(np.array([[0, 0, 1, 1]]), np.array([0, 0, 1, 0]), np.ones((1, 4)), 3)[0]
    assert found.sum(0) == pytest.approx(np.ones(3))
    # Right on 3 of 4; its errors fall as its answers do, half and half.
    assert found[:, 2] == pytest.approx([0.125, 0.125, 0.75])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000), st.integers(2, 6), st.integers(1, 9))
def test_shares_are_those_of_constrained_least_squares(seed, labels, models):
    rng = np.random.default_rng(seed)
    confusion, true, source = tables(rng, models, labels), rng.dirichlet(np.ones(labels)), rng.dirichlet(np.full(labels, 5.0))
    answered = rng.dirichlet(50 * (confusion @ true).mean(0) + 1, models)
    trust = rng.dirichlet(np.ones(models)) * 0.5
    found = label_shares(answered, confusion, trust, source)

    def loss(p):
        return float((trust[:, None] * (confusion @ p - answered) ** 2).sum() + CAUTION * ((p - source) ** 2).sum())

    bounds, simplex = [(0, 1)] * labels, {"type": "eq", "fun": lambda p: p.sum() - 1}
    best = minimize(loss, source, bounds=bounds, constraints=simplex, method="SLSQP", options={"ftol": 1e-14, "maxiter": 500})
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    assert loss(found) <= best.fun + 1e-4


def test_without_a_shift_the_shares_stay():
    rng = np.random.default_rng(0)
    confusion, source = tables(rng, 6, 4), np.array([0.1, 0.2, 0.3, 0.4])
    assert label_shares(confusion @ source, confusion, np.full(6, 0.1), source) == pytest.approx(source, abs=1e-6)


def test_probabilities_under_equal_shares_do_not_move():
    posterior = np.random.default_rng(0).dirichlet(np.ones(3), 10)
    source = np.array([0.5, 0.3, 0.2])
    assert shifted(posterior, source, source) == pytest.approx(posterior)
    # A label that became twice as frequent: 0.5 to 0.5 turns 2 to 1.
    assert shifted(np.array([[0.5, 0.5]]), np.array([0.4, 0.4]), np.array([0.8, 0.4])) == pytest.approx(np.array([[2 / 3, 1 / 3]]))


def test_errors_are_measured_on_the_probes_of_others():
    assert apart(np.array([1, 1, 2, 3]), (1, 3)).tolist() == [0, 0, 1, 0]
    assert apart(np.array([1, 1]), (1,)).tolist() == [1, 1]


def test_skill_is_above_chance():
    perfect, guessing = np.eye(4), np.full((4, 4), 0.25)
    assert skill(np.stack([perfect, guessing]), np.full(4, 0.25)) == pytest.approx([0.75, 0.01])


def test_labels_of_probes_are_never_out_of_the_question():
    assert probe_shares(np.array([0, 0, 1, 1]), 3) == pytest.approx(np.array([0.5, 0.5, 0.001]) / 1.001)


def test_shares_follow_the_samples_and_predictions_improve():
    left, before, right, unmoved = [], [], [], []
    for seed in (1, 2, 3):  # in world 0 the samples lie where no model is right
        made = world(seed, models=16, samples=250, balance=[0.85, 0.05, 0.05, 0.05])
        found = judge(settle(made.target).vicinity, made.candidates, ballots(made.candidates)).posterior
        true, source = np.bincount(made.truth, minlength=4) / 250, probe_shares(made.target.probes.labels, 4)
        left.append(np.abs(found.shares - true).sum())
        before.append(np.abs(source - true).sum())
        right.append((found.mixed.argmax(1) == made.truth).mean())
        unmoved.append((shifted(found.mixed, found.shares, source).argmax(1) == made.truth).mean())
    assert np.mean(left) < 0.8 * np.mean(before)
    assert np.mean(right) > np.mean(unmoved) + 0.01
