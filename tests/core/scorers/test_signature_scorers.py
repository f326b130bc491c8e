import numpy as np
import pytest

from gpuworker.core import scorers, signatures, specs
from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.core.scorers.adaptivity_pairs import adaptivity, group_distances
from gpuworker.core.scorers.intervals import wilson

RNG = np.random.default_rng(3)


def test_every_listed_scorer_has_one_function():
    assert scorers.FUNCTIONS.keys() == specs.SCORERS.keys()


@pytest.mark.parametrize("key", scorers.FUNCTIONS)
def test_a_missing_signature_is_cannot_tell_with_a_cause(key):
    found = scorers.FUNCTIONS[key](TargetView(40, {}), [CandidateView({}), CandidateView({})])
    assert len(found) == 2
    assert all(estimate.value is None and estimate.why for estimate in found)


@pytest.mark.parametrize("key", scorers.FUNCTIONS)
def test_no_candidates_give_no_estimates(key):
    assert scorers.FUNCTIONS[key](TargetView(40, {}), []) == []


def numeric(values):
    return signatures.compute("image", values=values)


def text(*rows):
    return signatures.compute("text", words=[row.split() for row in rows])


def test_jsd_hist_of_equal_and_of_disjoint_values():
    target = np.array([[0.0, 1.0, 0.0, 1.0]])
    others = [CandidateView(numeric(target * 9)), CandidateView(numeric(np.array([[0.0, 0.5, 0.5, 1.0]])))]
    same, half = scorers.FUNCTIONS["jsd_hist"](TargetView(1, numeric(target)), others)
    assert same.value == pytest.approx(0)
    # p = (1/2, 0, 1/2), q = (1/4, 1/2, 1/4) on three bins
    expected = (np.log(4 / 3) + 0.5 * np.log(2 / 3) + 0.5 * np.log(2)) / 2
    assert half.value == pytest.approx(expected)


def test_word_distances():
    target = TargetView(2, text("red green", "red blue"))
    same, other = scorers.FUNCTIONS["jsd_hist"](
        target, [CandidateView(text("blue red green red")), CandidateView(text("alpha beta", "gamma delta"))]
    )
    assert same.value == pytest.approx(0)
    assert other.value == pytest.approx(np.log(2))
    same, other = scorers.FUNCTIONS["l2_center"](target, [CandidateView(text("blue red green red")), CandidateView(text("red"))])
    assert same.value == pytest.approx(0)
    assert other.value == pytest.approx(np.sqrt(0.5**2 + 0.25**2 + 0.25**2))


def test_l2_center_by_hand_and_of_unequal_rows():
    target = numeric(np.array([[0.0, 2.0], [2.0, 2.0]]))  # scaled mean (.5, 1)
    near, unequal = scorers.FUNCTIONS["l2_center"](
        TargetView(2, target), [CandidateView(numeric(np.array([[0.0, 4.0]]))), CandidateView(numeric(np.ones((2, 3))))]
    )
    assert near.value == pytest.approx(0.5)
    assert unequal.value is None
    assert "3" in unequal.why
    assert "2" in unequal.why


def test_adaptivity_identity_of_both_directions():
    s, t = numeric(RNG.random((400, 6)) ** 2), numeric(RNG.random((150, 6)))
    forth, back = group_distances(s, t), group_distances(t, s)
    theta = float(np.median(forth))
    assert forth.shape == (8, 3)
    assert 3 * adaptivity(forth, theta) == pytest.approx(8 * adaptivity(back, theta))
    assert 0 < adaptivity(forth, theta) <= 8


def test_adaptivity_by_hand():
    distances = np.array([[0.1, 0.4], [0.2, 0.2], [0.5, 0.1]])
    assert adaptivity(distances, 0.3) == 2.0
    assert adaptivity(distances, 0.1) == 0.0


def test_adaptivity_takes_its_threshold_over_all_candidates():
    target = RNG.random((100, 6))
    near, far = numeric(RNG.random((100, 6))), numeric(RNG.random((100, 6)) ** 6)
    found = scorers.FUNCTIONS["adaptivity_pairs"](TargetView(100, numeric(target)), [CandidateView(near), CandidateView(far)])
    assert [estimate.value for estimate in found] == [2.0, 0.0]


def test_adaptivity_of_words():
    words = [f"common{i} other{i % 3}" for i in range(5)] * 20
    target = TargetView(100, text(*words))
    found = scorers.FUNCTIONS["adaptivity_pairs"](target, [CandidateView(text(*words)), CandidateView(text(*(["alpha beta"] * 100)))])
    assert found[0].value > found[1].value == 0


def test_source_accuracy_speaks_of_the_reference_only():
    reference = {"accuracy.correct": np.array([80]), "accuracy.n": np.array([100])}
    (found,) = scorers.FUNCTIONS["source_accuracy"](TargetView(1, {}), [CandidateView(reference)])
    assert found.about == "reference"
    assert found.value == 0.8
    assert (found.low, found.high) == (pytest.approx(0.7263, abs=1e-3), pytest.approx(0.8577, abs=1e-3))


def test_wilson_stays_inside_and_around_the_share():
    for n in (1, 7, 1000):
        for share in (0.0, 0.5, 1.0):
            low, high = wilson(share, n)
            assert 0 <= low <= share <= high <= 1
            assert high - low > 0
