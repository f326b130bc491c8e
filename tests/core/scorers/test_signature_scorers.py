import numpy as np
import pytest

from gpuworker.core import scorers, signatures
from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.core.scorers.adaptivity_pairs import adaptivity, group_distances
from gpuworker.core.scorers.intervals import wilson

RNG = np.random.default_rng(3)


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


def test_adaptivity_takes_a_threshold_tuned_elsewhere():
    target = TargetView(150, numeric(RNG.random((150, 6))))
    candidates = [CandidateView(numeric(RNG.random((400, 6)) ** power)) for power in (1, 2)]
    pairs = [group_distances(candidate.signature, target.signature) for candidate in candidates]
    for theta in (0.0, 0.05, 0.2, 1.0):
        found = scorers.FUNCTIONS["adaptivity_pairs"](target, candidates, theta=theta)
        assert [estimate.value for estimate in found] == [(table < theta).sum() / table.shape[1] for table in pairs]
    assert found[0].value == 8


def test_groups_without_a_common_word_never_look_alike():
    target = TargetView(100, text(*["red green"] * 100))
    candidates = [CandidateView(text(*["red green"] * 50)), CandidateView(text(*["alpha beta"] * 100))]
    for theta, expected in ((None, [0.0, 0.0]), (0.5, [1.0, 0.0]), (5.0, [1.0, 0.0])):
        # The median over pairs at 0, 0 and four at ln 2 is ln 2 itself.
        found = scorers.FUNCTIONS["word_adaptivity"](target, candidates, theta=theta)
        assert [estimate.value for estimate in found] == (expected if theta else [1.0, 0.0])


def test_hellinger_by_hand_and_within_its_bounds():
    target = numeric(np.array([[0.0, 1.0, 0.0, 1.0]]))
    others = [CandidateView(numeric(values)) for values in (np.array([[3.0, 9.0]]), np.array([[0.0, 0.5, 0.5, 1.0]]))]
    same, half = scorers.FUNCTIONS["hellinger_sq"](TargetView(1, target), others)
    assert same.value == pytest.approx(0)
    # p = (1/2, 0, 1/2), q = (1/4, 1/2, 1/4): 1 - (2 sqrt(1/8))
    assert half.value == pytest.approx(1 - np.sqrt(0.5))
    distance = scorers.FUNCTIONS["jsd_hist"](TargetView(1, target), others)[1].value
    assert np.log(2) * half.value <= distance <= half.value


def test_the_measures_of_words_by_name_are_those_for_texts():
    target = TargetView(3, text("red green", "red blue", "blue"))
    candidates = [CandidateView(text("red red blue", "green")), CandidateView(text("alpha")), CandidateView({})]
    for plain, words in (("jsd_hist", "word_jsd"), ("l2_center", "word_l2"), ("adaptivity_pairs", "word_adaptivity")):
        here, there = (scorers.FUNCTIONS[key](target, candidates) for key in (plain, words))
        assert [estimate.value for estimate in here] == [estimate.value for estimate in there]
    # p = (red 2, blue 2, green 1) / 5, q = (2, 1, 1) / 4
    assert scorers.FUNCTIONS["word_l2"](target, candidates)[0].value == pytest.approx(np.sqrt(0.1**2 + 0.15**2 + 0.05**2))


def clustered(*blobs):
    """A set of separate blobs of 40 rows, each with values of its own shape."""
    kind = np.repeat(np.arange(len(blobs)), 40)
    rng = np.random.default_rng(blobs)
    features = 30.0 * np.eye(6)[np.array(blobs)[kind]] + rng.normal(size=(len(kind), 6))
    values = np.random.default_rng(9).random((40, 30))
    shaped = np.concatenate([np.roll(values, blob, 0) ** (1 + 2 * blob) for blob in blobs])
    return signatures.compute("image", values=shaped, features=features.astype(np.float32))


def test_coverage_is_zero_one_way_where_one_set_lies_inside_the_other():
    whole, inside = clustered(0, 1, 2, 3), clustered(1, 3)
    coverage = scorers.FUNCTIONS["adaptivity_coverage"]
    (covered,) = coverage(TargetView(80, inside), [CandidateView(whole)])
    (lacking,) = coverage(TargetView(160, whole), [CandidateView(inside)])
    assert covered.value == pytest.approx(0, abs=1e-12)
    assert lacking.value > 0.01


def test_coverage_by_hand():
    # Parts of the samples: (1, 0) and (1/2, 1/2); of the reference: (1, 0) and (0, 1).
    target = {"value_groups.cluster_counts": np.array([[4, 0], [3, 3]])}
    reference = {"value_groups.cluster_counts": np.array([[2, 0], [0, 9]])}
    half = (np.log(4 / 3) + 0.5 * np.log(2 / 3) + 0.5 * np.log(2)) / 2
    (found,) = scorers.FUNCTIONS["adaptivity_coverage"](TargetView(10, target), [CandidateView(reference)])
    assert found.value == pytest.approx((0 + half) / 2)


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
