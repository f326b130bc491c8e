"""What is known before the first label."""

from __future__ import annotations

import numpy as np
import pytest

from gpuworker.core.labelling import EXPERTS, Label, believe, contest
from gpuworker.core.labelling.contest import DOUBT, WORTH, WORTH_WITHOUT_PROBES

VOTES = np.array([[0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 1, 0]], np.int16)


def test_without_labels_the_belief_is_the_experts_mix() -> None:
    anchor, a_only = np.array([0.9, 0.6, 0.3]), np.array([0.5, 0.7, 0.6])
    majority = np.array([0.75, 1.0, 0.75])  # of the samples (0, 0, 1, 0), by hand
    flat = np.mean([anchor.mean(), a_only.mean(), 0.8333333])
    shares = np.array([EXPERTS[name] for name in ("anchor", "a_only", "majority_vote", "flat")])
    told = np.stack([anchor, a_only, np.clip(majority, 0.02, 0.98), np.full(3, flat)])
    belief = believe(contest(VOTES, {"anchor": anchor, "a_only": a_only}, 2), ())
    np.testing.assert_allclose(belief.mean, shares / shares.sum() @ told, atol=1e-3)
    np.testing.assert_allclose(belief.experts, shares / shares.sum())
    assert belief.n == 0


def test_an_expert_who_cannot_tell_of_one_model_expects_the_mean_of_the_others() -> None:
    given = contest(VOTES, {"a_only": np.array([0.4, np.nan, 0.8])}, 2)
    assert given.expected[0].tolist() == pytest.approx([0.4, 0.6, 0.8])


def test_an_expert_without_any_word_is_not_heard_and_anchor_is_worth_more_than_the_rest() -> None:
    silent = contest(VOTES, {"anchor": np.full(3, np.nan), "a_only": np.full(3, 0.7)}, 2)
    assert (len(silent.weights), silent.worth) == (3, WORTH_WITHOUT_PROBES)
    assert contest(VOTES, {"anchor": np.full(3, 0.7)}, 2).worth == WORTH


def test_tied_labels_share_the_credit_of_the_majority() -> None:
    given = contest(np.array([[0, 0], [1, 0]], np.int16), {}, 2)
    assert given.expected[0].tolist() == pytest.approx([0.75, 0.75])


def test_answers_of_one_sample_share_one_certainty() -> None:
    draw = np.random.default_rng(1)
    votes = draw.integers(0, 4, (6, 50)).astype(np.int16)
    given = contest(votes, {"a_only": draw.uniform(0.3, 0.9, 6)}, 4)
    for item in range(50):
        _, first = np.unique(votes[:, item], return_index=True)
        silent = 4 - len(first)
        total = given.right[first, item].sum()
        assert DOUBT / 4 * len(first) < total <= 1 + 1e-9
        assert total == pytest.approx(1) or silent


def test_the_noise_is_the_mean_covariance_of_being_right_by_hand() -> None:
    """Two models that answer apart: at most one is right, with the chances p and q; what is left is p (1 - p) and -p q."""
    given = contest(np.array([[0, 0, 1], [1, 1, 0]], np.int16), {"a_only": np.array([0.8, 0.6])}, 3)
    p, q = given.right
    np.testing.assert_allclose(given.noise, [[(p * (1 - p)).mean(), -(p * q).mean()], [-(p * q).mean(), (q * (1 - q)).mean()]])


def test_copies_of_a_model_do_not_outvote_the_others() -> None:
    votes = np.array([[0, 1, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0]], np.int16)
    same = {"a_only": np.full(3, 0.8)}
    alone = contest(votes, same, 2).right[0]
    copied = contest(np.concatenate([votes, np.repeat(votes[1:2], 9, 0)]), {"a_only": np.full(12, 0.8)}, 2).right[0]
    np.testing.assert_allclose(alone, copied, atol=0.08)


@pytest.mark.parametrize(
    ("votes", "experts"),
    [
        (np.zeros((0, 4), np.int16), {}),
        (np.zeros((2, 0), np.int16), {}),
        (np.array([[0, 2]], np.int16), {}),
        (np.array([[0, -1]], np.int16), {}),
        (VOTES, {"a_friend": np.zeros(3)}),
        (VOTES, {"anchor": np.zeros(2)}),
    ],
)
def test_what_is_no_contest_is_refused(votes: np.ndarray, experts: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError):
        contest(votes, experts, 2)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_label_needs_a_positive_weight(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        Label(0, 0, weight)
