"""Majority vote, ensemble, spectral meta-learner and agreement on the line."""

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.special import ndtr, ndtri

from gpuworker.core import scorers
from gpuworker.core.protocols import CandidateView, ProbeView, TargetView
from gpuworker.core.scorers.aline import line_accuracies
from gpuworker.core.scorers.majority_vote import agreement_with_others
from gpuworker.core.scorers.sml import abilities, rank_one
from tests.core.scorers.worlds import crowd, log_probs, views


def values(key, candidates, target=None):
    found = scorers.FUNCTIONS[key](target or TargetView(len(candidates[0].log_probs), {}), candidates)
    return np.array([np.nan if estimate.value is None else estimate.value for estimate in found])


def test_majority_of_the_others_by_hand():
    votes = np.array([[0, 1, 2], [0, 1, 1], [0, 0, 0]])
    # First: others say (0, 0), (1, 0), (1, 0). It shares the second sample, and is alone on the third.
    assert agreement_with_others(votes, 3).tolist() == pytest.approx([1.5 / 3, (1 + 0.5) / 3, (1 + 0) / 3])


def test_a_model_does_not_vote_for_itself():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 2000)
    # Two that know and one that guesses: with its own vote the guess would reach more than a quarter of the samples.
    votes = np.stack([truth, np.where(rng.random(2000) < 0.5, truth, 3 - truth), rng.integers(0, 4, 2000)])
    found = agreement_with_others(votes, 4)
    assert found[2] == pytest.approx(0.25, abs=0.03)


def test_the_ensemble_listens_to_confidence():
    votes = np.array([[0, 1] * 30, [0, 1] * 30, [1, 0] * 30])
    confident = [0.55, 0.55, 0.99]
    candidates = [CandidateView({}, log_probs(row, 2, sure)) for row, sure in zip(votes, confident, strict=True)]
    assert np.isnan(values("ensv", candidates)).all()  # only two different answers: no consensus
    votes[1, :3] = 1 - votes[1, :3]
    candidates[1] = CandidateView({}, log_probs(votes[1], 2, 0.55))
    found = scorers.FUNCTIONS["ensv"](TargetView(60, {}), candidates)
    # .55 + .55 + .01 against .45 + .45 + .99
    assert [estimate.diagnostic if estimate.value is None else estimate.value for estimate in found] == pytest.approx([0, 3 / 60, 1])


@pytest.mark.parametrize("key", ["majority_vote", "ensv", "sml"])
def test_the_crowd_orders_its_members(key):
    truth, answers = crowd(np.random.default_rng(1), 12, 800, 4, shared=0.0, spread=1.0)
    accuracy = (answers == truth).mean(1)
    found = values(key, views(answers, 4))
    assert np.corrcoef(np.argsort(np.argsort(found)), np.argsort(np.argsort(accuracy)))[0, 1] > 0.9


@pytest.mark.parametrize("key", ["majority_vote", "ensv", "sml"])
def test_without_a_consensus_the_figure_is_a_diagnostic_only(key):
    answers = np.random.default_rng(2).integers(0, 3, (9, 300))
    for found in scorers.FUNCTIONS[key](TargetView(300, {}), views(answers, 3)):
        assert found.value is None
        assert "by chance" in found.why
        assert -1 <= found.diagnostic <= 1


@pytest.mark.parametrize("key", ["majority_vote", "ensv", "sml", "aline"])
def test_candidates_that_have_not_run_say_so(key):
    truth, answers = crowd(np.random.default_rng(3), 5, 100, 3)
    target, candidates = probed(truth, answers, 3)
    candidates.insert(1, CandidateView({}))
    found = scorers.FUNCTIONS[key](target, candidates)
    assert "not run" in found[1].why
    assert all(estimate.value is not None for index, estimate in enumerate(found) if index != 1)


def test_the_factor_of_a_covariance_without_its_diagonal():
    v = np.array([0.9, 0.5, -0.2, 0.7, 0.1])
    covariance = np.outer(v, v)
    np.fill_diagonal(covariance, 1.0)
    assert rank_one(covariance) == pytest.approx(v, abs=1e-5)
    assert rank_one(np.eye(2)).tolist() == [0, 0]


def test_the_factor_against_least_squares():
    rng = np.random.default_rng(4)
    v = rng.uniform(0.2, 0.9, 7)
    covariance = np.outer(v, v) + rng.normal(0, 0.03, (7, 7))
    covariance = (covariance + covariance.T) / 2
    upper = np.triu_indices(7, 1)
    solved = least_squares(lambda x: (np.outer(x, x) - covariance)[upper], v, xtol=1e-14, ftol=1e-14).x
    assert rank_one(covariance) == pytest.approx(solved, abs=1e-4)


def test_spectral_values_are_balanced_accuracies_up_to_a_factor():
    rng = np.random.default_rng(5)
    truth = rng.random(40_000) < 0.3
    rates = np.array([[0.9, 0.8], [0.6, 0.7], [0.75, 0.75], [0.95, 0.5]])  # right on yes, right on no
    votes = np.stack([np.where(truth, rng.random(40_000) < yes, rng.random(40_000) >= no) for yes, no in rates]).astype(int)
    # Covariance of answers in -1, +1: (1 - b^2) (2 pi_i - 1) (2 pi_j - 1), b the mean of the truth.
    expected = (rates.sum(1) - 1) * np.sqrt(1 - (2 * 0.3 - 1) ** 2)
    assert abilities(votes, 2) == pytest.approx(expected, abs=0.02)


def test_copies_and_constants_do_not_move_the_others():
    _, answers = crowd(np.random.default_rng(6), 6, 400, 3)
    alone = abilities(answers, 3)
    copies = abilities(np.concatenate([answers, answers[[2, 2, 2]]]), 3)
    assert copies[:6] == pytest.approx(alone, abs=1e-9)
    assert copies[6:] == pytest.approx(np.full(3, alone[2]))
    assert abilities(np.concatenate([answers, np.ones((1, 400), int)]), 3)[6] == pytest.approx(0, abs=1e-6)


def probed(truth, answers, labels, probes=None):
    """The first `probes` samples are labelled probes, all of them by default."""
    count = len(truth) if probes is None else probes
    probe = ProbeView(np.zeros((count, 1), np.float32), truth[:count], np.zeros(count, np.int64))
    rest = slice(0, None) if probes is None else slice(count, None)
    candidates = [CandidateView({}, log_probs(row[rest], labels), log_probs(row[:count], labels)) for row in answers]
    return TargetView(len(truth[rest]), {}, probes=probe), candidates


def test_accuracies_on_the_line_against_least_squares():
    rng = np.random.default_rng(7)
    here, there, a = (rng.normal(size=shape) for shape in ((5, 5), (5, 5), 5))
    here, there = here + here.T, there + there.T
    slope = 0.8
    i, j = np.triu_indices(5, 1)
    system = np.zeros((len(i), 5))
    system[np.arange(len(i)), i] = system[np.arange(len(i)), j] = 1
    solved, *_ = np.linalg.lstsq(system, 2 * here[i, j] + slope * (a[i] + a[j] - 2 * there[i, j]), rcond=None)
    assert line_accuracies(here, there, slope, a) == pytest.approx(ndtr(solved))


def test_the_same_samples_as_probes_give_their_accuracies_back():
    truth, answers = crowd(np.random.default_rng(8), 6, 500, 3)
    target, candidates = probed(truth, answers, 3)
    assert values("aline", candidates, target) == pytest.approx((answers == truth).mean(1), abs=1e-6)


def test_a_shift_lowers_the_accuracies_along_the_line():
    rng = np.random.default_rng(9)
    truth = rng.integers(0, 3, 6000)
    probits = np.linspace(0.3, 1.8, 8)
    # On the second half every probit is .6 lower; errors are independent, so agreements follow.
    chance = np.where(np.arange(6000) < 3000, ndtr(probits)[:, None], ndtr(probits - 0.6)[:, None])
    answers = np.where(rng.random((8, 6000)) < chance, truth, (truth + rng.integers(1, 3, (8, 6000))) % 3)
    target, candidates = probed(truth, answers, 3, probes=3000)
    found = values("aline", candidates, target)
    after = (answers[:, 3000:] == truth[3000:]).mean(1)
    before = (answers[:, :3000] == truth[:3000]).mean(1)
    assert np.abs(found - after).mean() < 0.6 * np.abs(before - after).mean()
    assert np.abs(ndtri(found) - ndtri(before)).mean() > 0.2


def test_a_line_needs_probes_answers_and_three_models():
    truth, answers = crowd(np.random.default_rng(10), 4, 100, 3)
    target, candidates = probed(truth, answers, 3)
    aline = scorers.FUNCTIONS["aline"]
    assert "no labelled probes" in aline(TargetView(100, {}), candidates)[0].why
    candidates[1] = CandidateView({}, candidates[1].log_probs)
    found = aline(target, candidates)
    assert "not answered the probes" in found[1].why
    assert found[0].value is not None
    few = aline(target, candidates[:3])
    assert "at least 3 models" in few[0].why
    assert few[0].diagnostic == pytest.approx((answers[0] == truth).mean())
    equal = aline(target, [candidates[0]] * 4)
    assert "no line" in equal[0].why
