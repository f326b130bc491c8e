"""A part of the labelled samples that stands for all of them, however unevenly they were drawn."""

from __future__ import annotations

import numpy as np
import pytest

from gpuworker.core.labelling import Belief, Contest, believe, by_lot, contest, fair_chances, pick
from tests.core.labelling.test_belief import LABELS


def half_disputed() -> Contest:
    """40 samples; the models differ on the first ten only."""
    votes = np.zeros((3, 40), np.int16)
    votes[0, :10], votes[1, :10], votes[2, :10] = 0, 1, 2
    return contest(votes, {"anchor": np.full(3, 0.8)}, LABELS)


def draws(given: Contest, belief: Belief, count: int, seed: int) -> tuple[list[int], list[float]]:
    """So many samples, asked for one after the other."""
    items: list[int] = []
    weights: list[float] = []
    for _ in range(count):
        found = pick(given, belief, items, seed)
        assert found is not None
        items.append(found.item)
        weights.append(found.weight)
    return items, weights


@pytest.mark.parametrize("count", [6, 24])
def test_what_stays_is_a_plain_draw(count: int) -> None:
    """Every sample is kept as often as any other, though disputed ones are asked for far more often."""
    given, asked, kept = half_disputed(), np.zeros(40), np.zeros(40)
    belief = believe(given, ())
    for seed in range(600):
        items, weights = draws(given, belief, count, seed)
        asked[items] += 1
        places = by_lot(fair_chances(weights, range(count), count, 40), items, 10_000 + seed)
        kept[[items[place] for place in places]] += 1
    assert asked[:10].mean() > 1.4 * asked[10:].mean()
    assert kept[:10].mean() == pytest.approx(kept[10:].mean(), rel=0.1)
    assert kept.sum() > 600 * count / 4, "not more is lost than has to be"


def test_once_all_samples_are_labelled_all_stay() -> None:
    given = half_disputed()
    items, weights = draws(given, believe(given, ()), 40, 3)
    chances = fair_chances(weights, range(40), 40, 40)
    assert chances.tolist() == [1.0] * 40
    assert by_lot(chances, items, 3) == list(range(40))


def test_even_draws_all_stay_and_nothing_comes_of_nothing() -> None:
    assert by_lot(fair_chances([1.0] * 5, range(5), 5, 100), [4, 9, 2, 7, 1], 0) == list(range(5))
    assert by_lot(fair_chances([], [], 3, 100), [], 0) == []


def test_chances_by_hand() -> None:
    """Two of ten samples drawn, the first twice as often as an even draw would, the second half as often."""
    assert fair_chances([0.5, 2.0], [0, 1], 2, 10).tolist() == pytest.approx([(1 - 8 / 9 / 2) / 2, 1.0])
    assert fair_chances([0.5], [0], 1, 10).tolist() == pytest.approx([0.25]), "one disputed sample does not stay because it is alone"


def test_a_samples_luck_is_its_own() -> None:
    chances = np.array([0.5, 1.0, 0.3, 0.6])
    items = [11, 3, 8, 20]
    kept = {items[place] for place in by_lot(chances, items, 7)}
    turned = {items[::-1][place] for place in by_lot(chances[::-1], items[::-1], 7)}
    assert kept == turned
    assert len({tuple(by_lot(chances, items, seed)) for seed in range(20)}) > 3
