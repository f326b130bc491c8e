"""Which sample is asked for: fair chances, the same again, and where leaders disagree."""

from __future__ import annotations

import numpy as np
import pytest

from gpuworker.core.labelling import Label, believe, chances, contest, pick
from gpuworker.core.labelling.picking import dispute, leaders
from tests.core.labelling.test_belief import LABELS, drawn


@pytest.mark.parametrize("seed", range(4))
def test_chances_sum_to_one_over_the_open_samples_and_each_has_half_an_even_chance(seed: int) -> None:
    given, _, _ = drawn(seed)
    is_open = np.random.default_rng(seed).random(given.samples) < 0.5
    found = chances(given, believe(given, ()), is_open)
    assert found.sum() == pytest.approx(1)
    assert (found[~is_open] == 0).all()
    assert found[is_open].min() >= 0.5 / is_open.sum() - 1e-12


def test_weights_make_up_for_the_chances() -> None:
    """The weighted mean of anything over the draws is its mean over the open samples."""
    given, _, _ = drawn(4)
    found = chances(given, believe(given, ()), np.ones(given.samples, np.bool_))
    weights = 1 / (given.samples * found)
    values = np.random.default_rng(0).random(given.samples)
    assert (found * weights * values).sum() == pytest.approx(values.mean())
    assert weights.max() <= 2 + 1e-9


def test_a_pick_carries_the_weight_of_its_own_chance() -> None:
    given, _, _ = drawn(4)
    belief, closed = believe(given, ()), {1, 5, 8}
    is_open = np.array([item not in closed for item in range(given.samples)])
    found = [pick(given, belief, closed, seed) for seed in range(10)]
    chance = chances(given, belief, is_open)
    assert [one.weight for one in found if one] == pytest.approx([1 / (is_open.sum() * chance[one.item]) for one in found if one])
    assert len({round(one.weight, 6) for one in found if one}) > 1


def test_disputed_samples_are_drawn_more_often() -> None:
    votes = np.zeros((3, 40), np.int16)
    votes[0, :5], votes[1, :5], votes[2, :5] = 0, 1, 2
    given = contest(votes, {"anchor": np.full(3, 0.8)}, LABELS)
    found = chances(given, believe(given, ()), np.ones(40, np.bool_))
    np.testing.assert_allclose(found[:5], 0.5 / 40 + 0.5 / 5)
    np.testing.assert_allclose(found[5:], 0.5 / 40)


def test_dispute_by_hand() -> None:
    given = contest(np.array([[0, 0, 1], [0, 1, 1], [0, 2, 2]], np.int16), {}, LABELS)
    assert dispute(given, np.array([0.5, 0.25, 0.25])).tolist() == pytest.approx([0.0, 1 - (0.25 + 0.0625 + 0.0625), 1 - (0.5625 + 0.0625)])


def test_a_model_that_cannot_lead_has_no_say_in_what_is_disputed() -> None:
    votes = np.array([[0, 1, 2, 0] * 20] * 2 + [[1, 2, 0, 1] * 20], np.int16)
    given = contest(votes, {"anchor": np.array([0.9, 0.9, 0.1])}, LABELS)
    belief = believe(given, [Label(item, [0, 1, 2, 0][item % 4]) for item in range(40)])
    assert leaders(belief)[2] == 0
    assert dispute(given, leaders(belief)).max() == pytest.approx(0)


def test_the_same_question_gets_the_same_answer_and_another_seed_another() -> None:
    given, truth, _ = drawn(6)
    belief = believe(given, [Label(2, int(truth[2]))])
    picks = [pick(given, belief, {2}, seed) for seed in range(20)]
    assert picks == [pick(given, belief, {2}, seed) for seed in range(20)]
    assert len({found.item for found in picks if found}) > 5


def test_it_asks_for_every_sample_once_and_then_for_none() -> None:
    given, truth, _ = drawn(7, n=12)
    labels: list[Label] = []
    while (found := pick(given, believe(given, labels), {label.item for label in labels})) is not None:
        labels.append(Label(found.item, int(truth[found.item]), found.weight))
    assert sorted(label.item for label in labels) == list(range(12))


def test_closed_samples_outside_the_contest_do_not_matter() -> None:
    given, _, _ = drawn(1)
    belief = believe(given, ())
    assert pick(given, belief, {999, -3}) == pick(given, belief, ())
