"""What labels say: by hand where it can be, and what must hold whatever they are."""

from __future__ import annotations

import numpy as np
import pytest

from gpuworker.core.labelling import WITHIN, Contest, Label, believe, contest, verdict
from gpuworker.core.labelling.belief import HARD, LOCAL, NUGGET
from gpuworker.core.labelling.contest import OWN

LABELS = 3


def drawn(seed: int, models: int = 5, n: int = 60) -> tuple[Contest, np.ndarray, np.ndarray]:
    """A contest whose models have known accuracies, and the true labels and accuracies."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, LABELS, n)
    skill = draw.uniform(0.35, 0.95, models)
    right = draw.random((models, n)) < skill[:, None]
    votes = np.where(right, truth, (truth + draw.integers(1, LABELS, (models, n))) % LABELS).astype(np.int16)
    expected = np.clip((votes == truth).mean(1) + draw.normal(0, 0.1, models), 0.05, 0.95)
    return contest(votes, {"anchor": expected}, LABELS), truth, (votes == truth).mean(1)


def words(truth: np.ndarray, items: list[int]) -> list[Label]:
    return [Label(item, int(truth[item])) for item in items]


def test_one_label_by_hand() -> None:
    """Two models, one sample, one expert: the normal posterior worked out on paper."""
    given = Contest(
        votes=np.array([[0], [1]], np.int16),
        expected=np.array([[0.6, 0.6]]),
        weights=np.ones(1),
        worth=23.0,
        right=np.array([[0.5], [0.5]]),
        agreement=np.eye(2),
        noise=np.array([[0.25, -0.25], [-0.25, 0.25]]),
        voters=np.ones(2),
    )
    # Prior variance .6 * .4 / 24 = .01, uncorrelated. The label makes one answer right: a surprise of +.5 and -.5, whose noise is
    # 1/4 on the diagonal and -1/4 beside it, plus what is hard for both.
    prior = 0.01 * np.eye(2)
    noise = given.noise + HARD + NUGGET * np.eye(2)
    seen = np.array([0.5, 0.5]) + np.array([0.5, -0.5])
    gain = prior @ np.linalg.inv(prior + noise)
    belief = believe(given, [Label(0, 0)])
    np.testing.assert_allclose(belief.mean, 0.6 + gain @ (seen - 0.6), rtol=1e-9)
    np.testing.assert_allclose(belief.covariance, prior - gain @ prior, rtol=1e-9)
    assert belief.mean[0] > 0.6 > belief.mean[1]


@pytest.mark.parametrize("seed", range(5))
def test_the_estimate_is_that_of_the_whole_process_solved_without_tricks(seed: int) -> None:
    """All surprises of all models at once: every pair of (model, sample) has its place in one table."""
    given, truth, _ = drawn(seed)
    items = [2, 3, 5, 8, 13, 21, 34]
    belief = believe(given, words(truth, items))
    assert belief.experts.max() < 1  # ANCHOR and those made from the answers are all heard
    base = belief.experts @ given.expected
    voice = given.voters / given.voters.sum()
    same = np.array([[float(voice @ (a == b)) ** 4 for b in given.votes.T] for a in given.votes.T])
    like = 1 - LOCAL + LOCAL * same / same.mean()
    spread = np.sqrt(base * (1 - base) / (given.worth + 1))
    prior = np.outer(spread, spread) * ((1 - OWN) * given.agreement + OWN * np.eye(given.models))
    noise = given.noise + HARD + NUGGET * np.eye(given.models)
    seen = np.kron(prior, like[np.ix_(items, items)]) + np.kron(noise, np.eye(len(items)))
    cross = np.kron(prior, like[:, items].mean(0))
    surprise = (given.votes[:, items] == truth[items]) - given.right[:, items] + given.right.mean(1, keepdims=True) - base[:, None]
    np.testing.assert_allclose(belief.mean, base + cross @ np.linalg.solve(seen, surprise.ravel()), atol=1e-9)
    np.testing.assert_allclose(belief.covariance, prior - cross @ np.linalg.solve(seen, cross.T), atol=1e-9)


def test_a_surprise_says_most_of_samples_that_are_answered_alike() -> None:
    """Ten models and two kinds of samples, a common and a rare one; the crowd is as sure of both. Where the crowd errs on the rare kind
    and one model does not, that model gains little; where it errs on the common kind, much."""
    rare = np.arange(100) % 10 == 0
    votes = np.where(rare, 1, 0) + np.zeros((10, 1), np.int64)
    votes[9] = 2
    given = contest(votes.astype(np.int16), {"anchor": np.full(10, 0.6)}, LABELS)
    none = believe(given, ()).mean[9]
    gains = [believe(given, [Label(item, 2) for item in np.flatnonzero(kind)[:6]]).mean[9] - none for kind in (rare, ~rare)]
    assert 0 < 2 * gains[0] < gains[1]


def test_models_that_answer_alike_share_their_prior_error() -> None:
    given = contest(np.array([[0, 1, 2, 0], [0, 1, 2, 0], [1, 2, 0, 1]], np.int16), {"anchor": np.full(3, 0.7)}, LABELS)
    covariance = believe(given, ()).covariance
    assert covariance[0, 1] / covariance[0, 0] == pytest.approx(1 - OWN)
    assert covariance[0, 2] == pytest.approx(0)


@pytest.mark.parametrize("seed", range(5))
def test_the_label_of_a_sample_that_all_models_answer_alike_moves_nothing_relatively(seed: int) -> None:
    """Whatever it turns out to be: all accuracies go up or down together."""
    votes = drawn(seed)[0].votes.copy()
    votes[:, 7] = 1
    given = contest(votes, {"anchor": np.linspace(0.4, 0.8, len(votes))}, LABELS)
    same = [believe(given, [Label(7, label)]) for label in range(LABELS)]
    assert (same[1].mean > same[0].mean).all()
    np.testing.assert_allclose(same[0].mean, same[2].mean)
    np.testing.assert_allclose(np.diff(same[1].mean - same[0].mean), 0, atol=0.02)
    assert np.argsort(same[0].mean).tolist() == np.argsort(same[1].mean).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_models_and_of_labels_does_not_matter(seed: int) -> None:
    given, truth, _ = drawn(seed)
    turn = np.random.default_rng(seed).permutation(given.models)
    other = contest(given.votes[turn], {"anchor": given.expected[0][turn]}, LABELS)
    labels = words(truth, [3, 14, 15, 9, 26])
    one, two = believe(given, labels), believe(other, labels[::-1])
    np.testing.assert_allclose(one.mean[turn], two.mean, atol=1e-9)
    np.testing.assert_allclose(one.near_best[turn], two.near_best, atol=1e-9)


def test_with_every_sample_labelled_the_mean_is_near_the_truth_and_the_interval_narrow() -> None:
    given, truth, accuracy = drawn(3, n=200)
    begin, end = believe(given, ()), believe(given, words(truth, list(range(200))))
    np.testing.assert_allclose(end.mean, accuracy, atol=0.03)
    assert ((end.interval[1] - end.interval[0]) < (begin.interval[1] - begin.interval[0])).all()


def test_labels_move_weight_to_the_expert_who_was_right() -> None:
    given, truth, accuracy = drawn(11, models=8, n=120)
    both = contest(given.votes, {"anchor": 1 - accuracy, "a_only": accuracy}, LABELS)
    before, after = believe(both, ()), believe(both, words(truth, list(range(0, 120, 4))))
    assert after.experts[1] / after.experts[0] > 3 * before.experts[1] / before.experts[0]
    assert after.experts.sum() == pytest.approx(1)


def test_the_interval_holds_its_mean_and_stays_inside_zero_and_one() -> None:
    given, truth, _ = drawn(5)
    for labels in ([], words(truth, [1]), words(truth, list(range(40)))):
        belief = believe(given, labels)
        low, high = belief.interval
        assert ((low > 0) & (low < belief.mean) & (belief.mean < high) & (high < 1)).all()


def test_near_best_of_equal_models_is_one_and_of_a_hopeless_one_nothing() -> None:
    votes = np.array([[0, 1, 2, 0] * 10] * 2 + [[1, 2, 0, 1] * 10], np.int16)
    given = contest(votes, {"anchor": np.array([0.9, 0.9, 0.1])}, LABELS)
    belief = believe(given, words(np.array([0, 1, 2, 0] * 10), list(range(30))))
    assert belief.near_best[2] < 0.01
    assert belief.near_best[0] == pytest.approx(belief.near_best[1], abs=0.05)
    assert abs(belief.mean[0] - belief.mean[1]) < WITHIN


def test_a_sample_counts_once_and_must_be_there() -> None:
    given, truth, _ = drawn(2)
    for wrong in ([Label(1, 0), Label(1, 2)], [Label(60, 0)], [Label(-1, 0)]):
        with pytest.raises(ValueError, match="samples"):
            believe(given, wrong)


def test_the_stop_rule_waits_for_five_labels_and_for_nine_in_ten() -> None:
    given, truth, accuracy = drawn(8, models=4, n=200)
    assert verdict(believe(given, ())).kind == "begin"
    assert verdict(believe(given, words(truth, [0, 1, 2, 3]))).kind == "begin"
    word = verdict(believe(given, words(truth, list(range(200)))))
    assert word.enough == (word.sure > 0.9)
    assert word.leader == int(np.argmax(accuracy))
