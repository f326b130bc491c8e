"""Replays: what a few labels are worth, and who leaves the race; in catalogs where the answer is plain."""

from __future__ import annotations

import numpy as np
import pytest

from bench.ranking.arrays import Pool, Scored
from bench.ranking.episodes import Episode, episodes
from bench.ranking.labels import BUDGETS, ERROR, label_scores, model_selector, product, random_labels
from bench.ranking.replay import replayed
from bench.ranking.speed import prior_times
from gpuworker.core.probes.calibration import UNCALIBRATED


@pytest.fixture
def episode(arrays: tuple[Pool, list[Scored]], monkeypatch: pytest.MonkeyPatch) -> Episode:
    monkeypatch.setattr("bench.ranking.episodes.LEAST_ROWS", 20)
    return next(iter(episodes(*arrays, 5, modes=("unseen",))))


def answers(models: int, n: int, labels: int, good: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) labels and (M, n) answers: one model is right on nine in ten samples, the others on half."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, labels, n)
    skill = np.where(np.arange(models) == good, 0.9, 0.5)[:, None]
    votes = np.where(rng.random((models, n)) < skill, truth, (truth + rng.integers(1, labels, (models, n))) % labels)
    return truth, votes


@pytest.mark.parametrize("method", ["product", "random", "selector"])
def test_forty_labels_find_the_one_good_model(method: str) -> None:
    truth, votes = answers(8, 200, 4, good=5)
    expert = {"anchor": np.full(8, 0.6)}
    found = {
        "product": lambda: product(votes, expert, truth, 4, 0),
        "random": lambda: random_labels(votes, truth, 0),
        "selector": lambda: model_selector(votes, truth, 4, 0),
    }[method]()
    assert tuple(found) == BUDGETS
    assert int(np.argmax(found[40])) == 5


def test_the_selector_asks_where_models_differ_and_weighs_by_one_error_rate() -> None:
    """Two models, alike on all samples but the last: that one is asked for first, and its label decides."""
    votes = np.zeros((2, 30), np.int64)
    votes[1, 29] = 1
    truth = votes[1].copy()
    found = model_selector(votes, truth, 2, 0)
    assert found[5][1] - found[5][0] == pytest.approx(1.0, abs=1e-5)
    assert 0 < ERROR < 0.5


def test_random_labels_are_accuracy_on_them() -> None:
    truth, votes = answers(3, 40, 2, good=0)
    assert random_labels(votes, truth, 1)[40] == pytest.approx((votes == truth).mean(1))
    assert random_labels(votes, truth, 1)[0].tolist() == [0, 0, 0]


def test_samples_may_run_out() -> None:
    truth, votes = answers(4, 12, 3, good=1)
    found = product(votes, {"anchor": np.full(4, 0.5)}, truth, 3, 0)
    assert np.array_equal(found[20], found[40])


def test_every_method_scores_every_candidate_at_every_budget(episode: Episode) -> None:
    seen = list(label_scores(episode))
    assert {name for name, _, _ in seen} == {"modelshop", "random_labels", "model_selector", "coda"}
    for _, _, scores in seen:
        assert all(scores[budget].shape == episode.truth.shape and np.isfinite(scores[budget]).all() for budget in BUDGETS)


def test_a_replayed_race_tells_who_left(episode: Episode, monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = replayed(episode, UNCALIBRATED)
    assert everybody["lost"] >= 0 and everybody["best_dropped"] == float(everybody["lost"] > 0)
    monkeypatch.setattr("bench.ranking.replay.DROP_LEVEL", None)
    assert replayed(episode, UNCALIBRATED) == {"best_dropped": 0.0, "lost": 0.0, "saved": 0.0, "left": 0.0}


def test_the_prior_order_of_a_large_catalog_is_timed(arrays: tuple[Pool, list[Scored]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.ranking.speed.MODELS", 500)
    monkeypatch.setattr("bench.ranking.speed.QUERIES", 3)
    pool, scored = arrays
    times = prior_times(pool, scored[0], 5)
    assert len(times) == 3 and min(times) > 0
