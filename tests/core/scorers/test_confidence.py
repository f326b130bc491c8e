"""Scores of one model alone, by hand and against independent computations."""

import numpy as np
import pytest
from scipy.optimize import linprog, minimize_scalar

from gpuworker.core import scorers
from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.core.scorers.cot import ROWS, shares, transport_cost
from gpuworker.core.scorers.dispersion import between_share
from gpuworker.core.scorers.label_shift_accuracy import label_balance

TWO = np.array([[0.8, 0.2], [0.5, 0.5]])
SURE = np.array([[1.0, 0.0], [0.0, 1.0]])


def value(key, probs, signature=None, **target):
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.asarray(probs)).astype(np.float32)
    (found,) = scorers.FUNCTIONS[key](TargetView(len(probs), {}, **target), [CandidateView(signature or {}, log_probs)])
    assert found.value is not None, found.why
    return found.value


def reference(correct, n, *, confidence=0.9, temperature=1.0):
    """The figures of a labelled reference sample with these rows of each label."""
    correct, n = np.array(correct), np.array(n)
    return {
        "accuracy.correct": np.array([correct.sum()]),
        "accuracy.n": np.array([n.sum()]),
        "accuracy.class_correct": correct,
        "accuracy.class_n": n,
        "class_histogram.counts": n,
        "output_stats.mean_confidence": np.array([confidence]),
        "calibration.temperature": np.array([temperature]),
    }


def test_average_confidence():
    assert value("average_confidence", TWO) == pytest.approx(0.65)
    assert value("average_confidence", SURE) == pytest.approx(1)


def test_entropy():
    assert value("entropy", TWO) == pytest.approx((-0.8 * np.log(0.8) - 0.2 * np.log(0.2) + np.log(2)) / 2)
    assert value("entropy", SURE) == pytest.approx(0, abs=1e-9)


def test_difference_of_confidences():
    # accuracy .9, confidence .9 on the reference and .65 on the samples: .25 lost
    assert value("doc", TWO, reference([50, 40], [50, 50])) == pytest.approx(0.65, abs=1e-6)
    assert value("doc", TWO, reference([10, 0], [50, 50])) == 0
    assert value("doc", SURE, reference([50, 49], [50, 50], confidence=0.5)) == 1


def test_calibrated_confidence():
    assert value("calibrated_confidence", TWO, reference([1, 1], [1, 1])) == pytest.approx(0.65)
    # T = 2 takes square roots: 2 / (2 + 1) and 1/2
    assert value("calibrated_confidence", TWO, reference([1, 1], [1, 1], temperature=2)) == pytest.approx((2 / 3 + 0.5) / 2)


def test_optimal_transport_by_hand():
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3]])
    # Half of each label: the two least sure of the first go over.
    assert value("cot", probs, reference([1, 1], [5, 5])) == pytest.approx(1 - (0.1 + 0.2 + 0.6 + 0.7) / 4, abs=1e-6)
    # Three quarters: one goes over.
    assert value("cot", probs, reference([1, 1], [75, 25])) == pytest.approx(1 - (0.1 + 0.2 + 0.6 + 0.3) / 4, abs=1e-6)
    assert value("cot", SURE, reference([1, 1], [1, 1])) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_optimal_transport_against_linear_programming(seed):
    rng = np.random.default_rng(seed)
    n, c = 24, 4
    probs = rng.dirichlet(np.full(c, 0.5), n)
    balance = shares(rng.dirichlet(np.ones(c)), n) / n
    rows, columns = np.repeat(np.arange(n), c), np.tile(np.arange(c), n)
    equal = np.concatenate([rows == np.arange(n)[:, None], columns == np.arange(c)[:, None]]).astype(float)
    solved = linprog((1 - probs).ravel(), A_eq=equal, b_eq=np.concatenate([np.full(n, 1 / n), balance]))
    assert transport_cost(probs, balance) == pytest.approx(solved.fun, abs=1e-9)


def test_things_are_shared_out_whole():
    assert shares(np.array([0.5, 0.3, 0.2]), 10).tolist() == [5, 3, 2]
    assert shares(np.array([1 / 3, 1 / 3, 1 / 3]), 4).tolist() == [2, 1, 1]
    assert shares(np.array([0.05, 0.95]), 5).tolist() == [0, 5]


def test_many_samples_are_represented_by_some():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(3, 0.5), 4 * ROWS)
    part = [value("cot", probs[i::4], reference([1, 1, 1], [4, 3, 3])) for i in range(4)]
    whole = value("cot", probs, reference([1, 1, 1], [4, 3, 3]))
    assert whole == pytest.approx(np.mean(part), abs=0.03)
    assert value("cot", probs[::-1], reference([1, 1, 1], [4, 3, 3])) == whole


def test_nuclear_norm_of_sure_answers_follows_their_balance():
    assert value("nuclear_norm", np.eye(3)[[0, 1, 2, 0, 1, 2]]) == pytest.approx(1)
    assert value("nuclear_norm", np.eye(4)[[1] * 8]) == pytest.approx(0.5)  # 1 / sqrt(C)
    # two labels, 3 and 1 of 4: sqrt 3 + sqrt 1 of sqrt 8
    assert value("nuclear_norm", np.eye(2)[[0, 0, 0, 1]]) == pytest.approx((np.sqrt(3) + 1) / np.sqrt(8))


@pytest.mark.parametrize("shape", [(30, 5), (4, 9)])
def test_nuclear_norm_against_singular_values(shape):
    probs = np.random.default_rng(1).dirichlet(np.ones(shape[1]), shape[0])
    expected = np.linalg.svd(probs, compute_uv=False).sum() / np.sqrt(shape[0] * min(shape))
    assert value("nuclear_norm", probs) == pytest.approx(expected, rel=1e-5)


def test_mutual_information():
    assert value("infomax", SURE) == pytest.approx(np.log(2))
    assert value("infomax", SURE[[0, 0]]) == pytest.approx(0, abs=1e-9)
    mean = np.array([0.65, 0.35])
    conditional = (-0.8 * np.log(0.8) - 0.2 * np.log(0.2) + np.log(2)) / 2
    assert value("infomax", TWO) == pytest.approx(-(mean @ np.log(mean)) - conditional, abs=1e-6)


def test_logit_norm_by_hand():
    # Logits above the least: ln 4 and 0, then 0 and 0.
    z = np.log(4)
    top = (1 + z + z * z / 2) / (2 + z + z * z / 2)
    expected = ((top**4 + (1 - top) ** 4 + 2 * 0.5**4) / 4) ** 0.25
    assert value("mano", TWO) == pytest.approx(expected, rel=1e-5)
    # Mean of -ln p over labels is above 5 here: the softmax itself.
    sure = np.array([[1 - 1e-8, 1e-8], [1e-8, 1 - 1e-8]])
    assert value("mano", sure) == pytest.approx(0.5**0.25, rel=1e-5)
    assert value("mano", np.full((7, 5), 0.2)) == pytest.approx(0.2, rel=1e-5)


def test_dispersion_by_hand():
    rows = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])
    # Spread: 4 * (1 + 4) = 20; between the labels' means (1, 0) and (1, 4): 4 * 4 = 16
    assert between_share(rows, np.array([0, 0, 2, 2])) == pytest.approx(0.8)
    assert between_share(rows, np.array([1, 1, 1, 1])) == 0
    assert between_share(np.ones((3, 2)), np.array([0, 1, 2])) == 0


def test_dispersion_prefers_labels_that_follow_the_samples():
    rng = np.random.default_rng(2)
    kind = rng.integers(0, 3, 300)
    features = (4 * np.eye(5)[kind] + rng.normal(size=(300, 5))).astype(np.float32) * np.array([1, 1e3, 1, 1e-3, 1], np.float32)
    right, wrong = np.eye(3)[kind] * 0.9 + 0.1 / 3, np.eye(3)[rng.integers(0, 3, 300)] * 0.9 + 0.1 / 3
    assert value("dispersion", right, features=features) > 0.3 > 0.1 > value("dispersion", wrong, features=features)
    # Without features of the samples a model is judged by its own outputs.
    assert value("dispersion", wrong) == pytest.approx(1, abs=1e-5)


def test_recall_of_each_label_is_weighted_by_the_balance_found():
    # 20 of 20 and 10 of 20: recalls (20 + 1.5) / 22 and (10 + 1.5) / 22
    signature = reference([20, 10], [20, 20])
    first, second = 21.5 / 22, 11.5 / 22
    assert value("label_shift_accuracy", SURE[[0, 0, 0, 1]], signature) == pytest.approx(0.75 * first + 0.25 * second, abs=1e-4)
    assert value("label_shift_accuracy", SURE[[1] * 5], signature) == pytest.approx(second, abs=1e-4)


def test_the_balance_is_the_most_likely_one():
    rng = np.random.default_rng(3)
    prior = np.array([0.7, 0.3])
    truth = (rng.random(400) < 0.8).astype(int)
    score = rng.normal(2 * truth - 1, 1.0)
    odds = prior[1] / prior[0] * np.exp(2 * score)
    probs = np.stack([1 / (1 + odds), odds / (1 + odds)], 1)

    def loss(share):
        return -np.log(probs @ (np.array([1 - share, share]) / prior)).sum()

    best = minimize_scalar(loss, bounds=(0.001, 0.999), method="bounded", options={"xatol": 1e-9}).x
    found = label_balance(probs, prior)
    assert found[1] == pytest.approx(best, abs=1e-4)
    assert found[1] == pytest.approx(0.8, abs=0.08)
    assert abs(probs.mean(0)[1] - 0.8) > abs(found[1] - 0.8)
