"""Figures of a ranking, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bench.ranking.aggregate import Row, difference, mean
from bench.ranking.metrics import figures, first_shares, interval_figures, mean_error

TRUTH = np.array([0.9, 0.7, 0.5, 0.1])


def test_a_right_order_and_its_reverse() -> None:
    best = figures(np.array([4.0, 3.0, 2.0, 1.0]), TRUTH)
    assert best["regret1"] == 0 and best["tau"] == pytest.approx(1) and best["spearman"] == pytest.approx(1) and best["worst_third"] == 0
    worst = figures(-TRUTH, TRUTH)
    assert worst["regret1"] == pytest.approx(0.8) and worst["regret3"] == pytest.approx(0.2) and worst["regret5"] == 0
    assert worst["tau"] == pytest.approx(-1) and worst["pearson"] == pytest.approx(-1) and worst["worst_third"] == 1


def test_tied_scores_share_the_credit() -> None:
    # The first place goes to .9 or .5, the second to the other.
    tied = figures(np.array([2.0, 1.0, 2.0, 0.0]), TRUTH)
    assert tied["regret1"] == pytest.approx(0.2)  # .9 - (.9 + .5) / 2
    # Kendall's b: of 6 pairs one is tied in the scores; 4 agree, 1 does not: 3 / sqrt(5 * 6).
    assert tied["tau"] == pytest.approx(3 / np.sqrt(30))


def test_a_constant_scorer_knows_nothing() -> None:
    same = figures(np.full(4, 0.3), TRUTH)
    assert same["tau"] == same["wtau"] == same["spearman"] == same["pearson"] == 0
    assert same["regret1"] == pytest.approx(0.9 - TRUTH.mean())
    # The best of three out of four: .9 in 3 of 4 draws, .7 in one.
    assert same["regret3"] == pytest.approx(0.2 / 4)
    assert same["worst_third"] == pytest.approx(2 / 4)  # the lower third of four reaches to .5


def test_candidates_without_a_score_come_last_together() -> None:
    scores = np.array([np.nan, 0.2, np.nan, 0.4])
    assert figures(scores, TRUTH)["regret1"] == pytest.approx(0.8)
    assert figures(scores, TRUTH)["regret3"] == pytest.approx(0.9 - (0.9 + 0.7) / 2)  # .1, .7, then .9 or .5
    nothing = figures(np.full(4, np.nan), TRUTH)
    assert nothing["tau"] == 0 and nothing["regret1"] == pytest.approx(0.9 - TRUTH.mean())
    assert all(np.isfinite(value) for value in nothing.values())


def test_shares_of_the_first_places_add_up() -> None:
    assert first_shares(np.array([1.0, 1.0, 1.0, 0.0]), 1).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert first_shares(np.array([2.0, 1.0, 1.0, 1.0]), 3).tolist() == pytest.approx([1, 2 / 3, 2 / 3, 2 / 3])


def test_equal_truths_give_no_correlation() -> None:
    same = figures(np.arange(4.0), np.full(4, 0.5))
    assert same["tau"] == same["pearson"] == 0 and same["regret1"] == 0


def test_error_and_intervals() -> None:
    values = np.array([0.8, 0.75, np.nan, 0.2])
    assert mean_error(values, TRUTH) == pytest.approx((0.1 + 0.05 + 0.1) / 3)
    assert mean_error(np.full(4, np.nan), TRUTH) is None
    low, high = np.array([0.85, 0.6, np.nan, 0.15]), np.array([0.95, 0.9, np.nan, 0.3])
    found = interval_figures(low, high, values, TRUTH)
    assert found["coverage.all"] == pytest.approx(2 / 3)  # .1 lies below .15
    assert found["coverage.winner"] == 1 and found["width.winner"] == pytest.approx(0.1)
    assert found["width.all"] == pytest.approx((0.1 + 0.3 + 0.15) / 3)
    assert interval_figures(np.full(4, np.nan), high, values, TRUTH) == {}


def row(task: str, seed: int, target: str, method: str, regret: float) -> Row:
    return Row(task, seed, target, "unseen", "natural", 250, 250, method, {"regret1": regret})


def test_tasks_count_alike_and_spread_is_over_seeds() -> None:
    rows = [
        row("a", 0, "x", "m", 0.1),
        row("a", 0, "y", "m", 0.3),
        row("b", 0, "z", "m", 0.6),
        row("a", 1, "x", "m", 0.4),
        row("b", 1, "z", "m", 0.0),
    ]
    found = mean(rows, "regret1")
    # Seed 0: ((.1 + .3) / 2 + .6) / 2 = .4; seed 1: (.4 + 0) / 2 = .2.
    assert found is not None and found.value == pytest.approx(0.3) and found.spread == pytest.approx(0.1) and found.tasks == 2
    assert mean(rows, "tau") is None


def test_differences_are_paired_over_episodes() -> None:
    rows = [row("a", 0, f"t{i}", method, value) for i in range(12) for method, value in (("m", 0.1 * i), ("other", 0.1 * i + 0.05))]
    rows.append(row("a", 0, "alone", "other", 5.0))  # no partner: left out
    found = difference(rows, "m", "other", "regret1")
    assert found is not None and found == pytest.approx((-0.05, -0.05, -0.05))
    noisy = [row("a", 0, f"t{i}", method, value) for i in range(12) for method, value in (("m", 0.1), ("other", 0.1 + (-1) ** i * 0.1))]
    middle = difference(noisy, "m", "other", "regret1")
    assert middle is not None and middle[1] < 0 < middle[2]
    assert difference(rows, "m", "none", "regret1") is None
