import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers import FUNCTIONS
from gpuworker.core.scorers.consensus import Voters, consensus, em, kappa, voters
from gpuworker.core.scorers.dawid_skene import joint
from gpuworker.core.scorers.shift import Shift
from tests.core.scorers.worlds import crowd, log_probs, views

dawid_skene = FUNCTIONS["dawid_skene"]


def near(candidates):
    """Joint estimates where the samples are known to look like the references."""
    return joint(candidates, [Shift(0.0, 0.0)] * len(candidates), [Estimate(None)] * len(candidates))


def test_one_step_by_hand():
    # Three voters, two samples, two labels: votes (0,0,0) and (1,1,0).
    votes = np.array([[0, 1], [0, 1], [0, 0]])
    posterior, log_confusion = em(Voters(votes, np.ones(3)), 2, iterations=1)
    q = np.array([[3.01, 0.01], [1.01, 2.01]]) / 3.02
    balance = (q.sum(0) + 1) / 4
    table = {}
    for voter in (0, 2):
        for true in (0, 1):
            mass = [q[votes[voter] == answer, true].sum() + (0.6 if answer == true else 0.1) for answer in (0, 1)]
            table[voter, true] = np.array(mass) / sum(mass)
    raw = np.array([[balance[t] * table[0, t][votes[0, i]] ** 2 * table[2, t][votes[2, i]] for t in (0, 1)] for i in (0, 1)])
    np.testing.assert_allclose(posterior, raw / raw.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_confusion[0, 0]), table[0, 0], rtol=1e-5)


def test_accuracy_is_the_mean_posterior_of_the_own_answers():
    votes = np.array([[0, 1, 1, 0], [0, 1, 1, 1], [0, 1, 0, 0]])
    found = consensus(votes, voters(votes), 2)
    by_hand = [np.mean([found.posterior[i, label] for i, label in enumerate(row)]) for row in votes]
    np.testing.assert_allclose(found.accuracy, by_hand)
    assert found.accuracy.argmax() == 0
    np.testing.assert_allclose(found.majority, [1, 0.75, 0.75])
    np.testing.assert_allclose(found.agreement[0], [1, 0.75, 0.75])
    np.testing.assert_allclose(np.diag(found.joint), found.accuracy, rtol=1e-5)


def test_kappa_of_equal_and_of_unrelated_voters():
    votes = np.random.default_rng(0).integers(0, 3, (4, 5000))
    assert kappa(votes[[0, 0]], 3) == pytest.approx(1)
    assert abs(kappa(votes, 3)) < 0.02


def test_copies_count_once_and_easy_samples_keep_their_votes():
    rng = np.random.default_rng(0)
    _, answers = crowd(rng, 4, 300, 4)
    copied = voters(np.concatenate([answers, answers[:1], answers[:1]]))
    assert len(copied.votes) == 4
    assert copied.weights.max() < 1.01
    easy = np.zeros((6, 40), dtype=np.int64)
    easy[:, ::2] = 1
    easy[5, 3] = 1
    weights = voters(easy).weights
    # five alike, one sample of 40 apart: an unrelated model would equal them with (39/40)^40 = .363
    assert sorted(weights) == pytest.approx([1, 1 + 4 * (39 / 40) ** 40])


def test_constant_answers_do_not_vote():
    votes = np.array([[0, 1, 1], [2, 2, 2], [1, 1, 0], [0, 0, 0]])
    assert voters(votes).votes.tolist() == [[0, 1, 1], [1, 1, 0]]
    assert len(voters(votes[[1, 3]]).votes) == 0


def test_copies_of_a_bad_model_do_not_take_over():
    rng = np.random.default_rng(4)
    truth, answers = crowd(rng, 6, 400, 4, ability=1.5, spread=0.3)
    bad = np.where(rng.random(400) < 0.6, (truth + 1) % 4, truth)
    clean = [e.value for e in near(views(answers, 4)).estimates]
    found = near(views(np.concatenate([answers, [bad] * 25]), 4)).estimates
    assert np.abs(np.array(clean) - [e.value for e in found[:6]]).max() < 0.05
    assert max(e.value for e in found[6:]) < min(e.value for e in found[:6])
    assert len({e.value for e in found[6:]}) == 1


def test_adding_constant_models_moves_no_other_score():
    rng = np.random.default_rng(5)
    _, answers = crowd(rng, 8, 300, 4)
    before = near(views(answers, 4)).estimates
    constant = np.stack([np.full(300, label) for label in (0, 1, 1, 3)])
    after = near(views(np.concatenate([answers, constant]), 4)).estimates
    assert max(abs(a.value - b.value) for a, b in zip(before, after, strict=False)) < 1e-4
    assert all(0 <= estimate.value < 0.6 for estimate in after[8:])


@pytest.mark.parametrize(
    ("answers", "labels", "cause"),
    [
        (np.zeros((4, 1), dtype=np.int64), 3, "1 samples"),
        (np.random.default_rng(0).integers(0, 3, (5, 20)), 3, "20 samples"),
        (np.zeros((4, 100), dtype=np.int64), 3, "differently"),
        (np.random.default_rng(0).integers(0, 3, (2, 100)), 3, "differently"),
        (np.random.default_rng(0).integers(0, 3, (1, 100)), 3, "differently"),
        (np.random.default_rng(0).integers(0, 3, (9, 300)), 3, "by chance"),
    ],
)
def test_what_it_cannot_know_it_does_not_say(answers, labels, cause):
    for found in near(views(answers, labels)).estimates:
        assert found.value is None
        assert found.low is None
        assert cause in found.why
        assert 0 <= found.diagnostic <= 1


def test_another_label_space_is_refused():
    with pytest.raises(ValueError, match="label space"):
        dawid_skene(TargetView(50, {}), [*views(np.zeros((2, 50), dtype=np.int64), 3), *views(np.zeros((1, 50), dtype=np.int64), 4)])


def test_candidates_without_predictions_do_not_take_part():
    _, answers = crowd(np.random.default_rng(6), 5, 100, 3)
    candidates = views(answers, 3)
    candidates.insert(2, CandidateView({}))
    found = dawid_skene(TargetView(100, {}), candidates)
    assert found[2].value is None
    alone = dawid_skene(TargetView(100, {}), views(answers, 3))
    assert [e.value for i, e in enumerate(found) if i != 2] == [e.value for e in alone]


def test_unknown_or_distant_samples_widen_every_interval():
    _, answers = crowd(np.random.default_rng(7), 8, 400, 4)
    candidates = views(answers, 4)
    widths = []
    for shift in (Shift(0.1, 0.0), Shift(0.3, 0.25), Shift(0.9, 0.8), None):
        found = joint(candidates, [shift] * 8, [Estimate(None)] * 8).estimates
        widths.append(np.mean([e.high - e.low for e in found]))
    assert widths[0] + 0.03 < widths[1] < widths[2] == widths[3]


def test_disagreement_with_atc_widens_only_that_models_interval():
    _, answers = crowd(np.random.default_rng(8), 8, 400, 4)
    candidates, none = views(answers, 4), [Estimate(None)] * 8
    shifts = [Shift(0.0, 0.0)] * 8
    plain = joint(candidates, shifts, none).estimates
    against = joint(candidates, shifts, [Estimate(plain[0].value - 0.3), *none[1:]]).estimates
    assert against[0].high - against[0].low > plain[0].high - plain[0].low + 0.05
    assert against[1:] == plain[1:]


def test_intervals_hold_on_simulated_crowds():
    """Other seeds, sizes and error patterns than those the model error was set on."""
    held, widths, pairs = [], [], []
    for models, labels, samples, shared in [(6, 3, 90, 0.2), (10, 5, 250, 0.5), (16, 2, 500, 0.4), (30, 8, 150, 0.1), (5, 4, 300, 0.35)]:
        for seed in range(6):
            rng = np.random.default_rng((99, models, seed))
            truth, answers = crowd(rng, models, samples + 3000, labels, shared=shared, ability=rng.uniform(0.4, 1.8), spread=0.7)
            accuracy = (answers[:, samples:] == truth[samples:]).mean(1)
            found = near(views(answers[:, :samples], labels))
            if found.why:
                continue
            low, high = (np.array([getattr(e, side) for e in found.estimates]) for side in ("low", "high"))
            held.append(np.mean((low <= accuracy) & (accuracy <= high)))
            widths.append(np.mean(high - low))
            variance = np.diag(found.covariance)
            apart = np.sqrt(np.maximum(variance[:, None] + variance - 2 * found.covariance, 0))
            error = np.abs((found.mean[:, None] - found.mean) - (accuracy[:, None] - accuracy))
            pairs.append(np.mean(error[np.triu_indices(models, 1)] <= 1.645 * apart[np.triu_indices(models, 1)]))
    assert len(held) >= 25
    assert np.mean(held) >= 0.9
    assert min(held) >= 0.6
    assert np.mean(pairs) >= 0.9
    assert np.mean(widths) < 0.3


answer_tables = hnp.arrays(np.int64, st.tuples(st.integers(1, 7), st.integers(1, 60)), elements=st.integers(0, 2))


@settings(max_examples=60, deadline=None)
@given(answer_tables)
def test_every_table_of_answers_gives_finite_figures(answers):
    found = near(views(answers, 3))
    for estimate in found.estimates:
        value = estimate.diagnostic if estimate.value is None else estimate.value
        assert 0 <= value <= 1
        if estimate.value is not None:
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert np.isfinite(found.covariance).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 50))
def test_order_and_scale_do_not_matter(seed, scale):
    rng = np.random.default_rng(seed)
    _, answers = crowd(rng, 6, 120, 3)
    logits = np.stack([log_probs(row, 3) for row in answers]) + rng.normal(0, 0.1, (6, 120, 3))
    models, samples = rng.permutation(6), rng.permutation(120)
    here = near([CandidateView({}, x.astype(np.float32)) for x in logits])
    there = near([CandidateView({}, (logits[m][samples] * scale).astype(np.float32)) for m in models])
    assert here.why == there.why
    for place, model in enumerate(models):
        a, b = here.estimates[model], there.estimates[place]
        assert (a.value, a.low, a.high) == (
            pytest.approx(b.value, abs=2e-3),
            pytest.approx(b.low, abs=4e-3),
            pytest.approx(b.high, abs=4e-3),
        )
