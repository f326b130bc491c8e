import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuworker.core.metrics import ACCURACY, Metric, expected, observed

LABELS = np.array([0, 0, 0, 1, 1, 2])
VOTES = np.array([[0, 0, 1, 1, 1, 2], [0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]])
COSTS = Metric("cost", costs=((0.0, 1.0, 1.0), (4.0, 0.0, 1.0), (2.0, 2.0, 0.0)))
EVERY = [ACCURACY, Metric("balanced_accuracy"), Metric("macro_f1"), Metric("f1", label=1), COSTS]


@pytest.mark.parametrize(
    ("metric", "by_hand"),
    [
        (ACCURACY, [5 / 6, 3 / 6, 0]),
        (Metric("balanced_accuracy"), [(2 / 3 + 1 + 1) / 3, 1 / 3, 0]),
        (Metric("f1", label=1), [2 * 2 / (2 + 3), 0, 0]),
        # the second answers 0 to all: F1 of 0 is 2*3/(3+6), labels 1 and 2 occur and get 0
        (Metric("macro_f1"), [(4 / 5 + 4 / 5 + 1) / 3, (6 / 9) / 3, 0]),
        (COSTS, [1 - (1 / 6) / 4, 1 - ((4 + 4 + 2) / 6) / 4, 1 - ((3 + 4 + 4 + 2) / 6) / 4]),
    ],
)
def test_by_hand(metric, by_hand):
    np.testing.assert_allclose(observed(metric, LABELS, VOTES, 3), by_hand)


def test_expected_accuracy_and_f1_by_hand():
    posterior = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    votes = np.array([[0, 1, 1], [1, 1, 1]])
    np.testing.assert_allclose(expected(ACCURACY, posterior, votes), [(0.9 + 0.6 + 0.8) / 3, (0.1 + 0.6 + 0.8) / 3])
    np.testing.assert_allclose(expected(Metric("f1", label=1), posterior, votes), [2 * 1.4 / (1.5 + 2), 2 * 1.5 / (1.5 + 3)])
    np.testing.assert_allclose(expected(Metric("balanced_accuracy"), posterior, votes)[1], (1 - 0.9 * 0.4 * 0.2) / _occurs(posterior))


def _occurs(posterior):
    return (1 - np.prod(1 - posterior, axis=0)).sum()


def test_labels_that_nobody_expects_or_answers_do_not_count():
    posterior = np.array([[0.95, 0.04, 0.01], [0.04, 0.95, 0.01]])
    assert expected(Metric("macro_f1"), posterior, np.array([[0, 1]]))[0] > 0.9


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.kind)
def test_weights_are_repetitions(metric):
    times = np.array([1, 3, 0, 2, 1, 1])
    plain = observed(metric, np.repeat(LABELS, times), np.repeat(VOTES, times, axis=1), 3)
    np.testing.assert_allclose(observed(metric, LABELS, VOTES, 3, times.astype(float)), plain, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 5), st.integers(1, 30), st.integers(2, 4))
def test_every_metric_is_finite_and_does_not_depend_on_any_order(seed, models, n, labels):
    rng = np.random.default_rng(seed)
    posterior, votes = rng.dirichlet(np.ones(labels), n), rng.integers(0, labels, (models, n))
    costs = Metric("cost", costs=tuple(map(tuple, rng.random((labels, labels)) + 0.1)))
    for metric in (*EVERY[:4], costs):
        found = expected(metric, posterior, votes)
        assert ((found >= -1e-12) & (found <= 1 + 1e-12)).all()
        samples, order = rng.permutation(n), rng.permutation(models)
        np.testing.assert_allclose(expected(metric, posterior[samples], votes[order][:, samples]), found[order], atol=1e-12)


@pytest.mark.parametrize(
    "wrong", [{"kind": "f1"}, {"kind": "accuracy", "label": 1}, {"kind": "cost"}, {"kind": "cost", "costs": ((0.0, -1.0), (1.0, 0.0))},
              {"kind": "cost", "costs": ((0.0, 0.0), (0.0, 0.0))}, {"kind": "cost", "costs": ((0.0, 1.0),)}]
)  # fmt: skip
def test_metrics_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"F1|cost"):
        Metric(**wrong)


def test_no_samples_have_no_quality():
    assert expected(ACCURACY, np.zeros((0, 3)), np.zeros((2, 0), dtype=np.int64)).tolist() == [0, 0]


def test_names_are_ready_for_a_sentence():
    assert json.dumps([metric.name for metric in EVERY]) == '["accuracy", "balanced accuracy", "macro F1", "F1", "saved cost"]'
