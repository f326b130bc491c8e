"""ANCHOR against its formulas written out slowly, and what no catalog may do to it."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from gpuworker.core.metrics import Metric, expected
from gpuworker.core.probes import settle
from gpuworker.core.probes.marginal import shifted
from gpuworker.core.protocols import CandidateView, ProbeView, TargetView
from gpuworker.core.scorers import FUNCTIONS
from gpuworker.core.scorers.a_only import a_only
from gpuworker.core.scorers.anchor import anchor, judge
from gpuworker.core.scorers.answers import ballots
from gpuworker.core.scorers.consensus import em, voters
from gpuworker.core.scorers.dawid_skene import dawid_skene
from tests.core.probes.worlds import constant, world

HARD_VOTES = ("a_only", "probe_cells", "probe_neighbours", "probe_importance", "majority_vote", "dawid_skene", "sml", "aline")


def values(made, key="anchor"):
    return np.array([estimate.value for estimate in FUNCTIONS[key](made.target, made.candidates)], dtype=float)


def judged(made):
    target = settle(made.target)
    return target.vicinity, judge(target.vicinity, made.candidates, ballots(made.candidates))


# Its formulas


def slow_votes(vicinity, candidates, n_labels):
    """log Q = .5 log T + .5 log K + sum_m v_m lam_m [h_m = y], one sample and one model after the other."""
    labels, kernel = vicinity.probes.labels, vicinity.neighbours.kernel.toarray()
    right = np.array([view.probe_log_probs.argmax(1) == labels for view in candidates])
    wrong_answers = [np.where(own, -1, view.probe_log_probs.argmax(1)) for own, view in zip(right, candidates, strict=True)]
    a2, a3 = kernel.mean(0), vicinity.importance_weights
    count = len(candidates)
    u = np.zeros(count)
    for m in range(count):
        for other in range(count):
            same = ((wrong_answers[m] == wrong_answers[other]) & (wrong_answers[m] >= 0)).sum()
            share = 1.0 if m == other else same / max(min((~right[m]).sum(), (~right[other]).sum()), 1)
            u[m] += np.clip((share - 0.3) / 0.7, 0, 1)
    u = 1 / u
    v = u * min(1, 4 / u.sum())
    linear, near = vicinity.linear_teacher(n_labels), vicinity.near_teacher(n_labels)
    logs = 0.5 * np.log(linear) + 0.5 * np.log(near)
    for i in range(len(logs)):
        for m, view in enumerate(candidates):
            g = (right[m] @ a2 + right[m] @ a3) / 2
            c = np.clip((8 * (kernel[i] @ right[m]) + 4 * np.clip(g, 0.02, 0.98)) / 12, 0.02, 0.98)
            logs[i, view.log_probs[i].argmax()] += v[m] * max(0.0, np.log(c * (n_labels - 1) / (1 - c)))
    odds = np.exp(logs - logs.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def test_votes_are_the_formula_written_out():
    made = world(1, models=6, samples=40, probes=160)
    vicinity, found = judged(made)
    slow = slow_votes(vicinity, made.candidates, 4)
    source = np.bincount(vicinity.probes.labels, minlength=4) / len(vicinity.probes.labels)
    assert found.posterior.votes == pytest.approx(shifted(slow, source, found.posterior.shares), abs=1e-6)


def test_the_stack_is_a_regression_on_points_and_answers():
    made = world(2, models=5, samples=60, probes=240)
    vicinity, found = judged(made)

    def side_by_side(tables):
        return np.concatenate([np.clip(table, -6, 0) for table in tables], axis=1).astype(np.float64)

    on_probes, on_samples = (side_by_side([getattr(view, name) for view in made.candidates]) for name in ("probe_log_probs", "log_probs"))
    mean, spread = on_probes.mean(0), on_probes.std(0) + 0.1
    z, other = (np.clip((table - mean) / spread, -5, 5) for table in (on_probes, on_samples))
    axes = PCA(min(48, z.shape[1])).fit(z - z.mean(0))
    root = np.sqrt(((z @ axes.components_.T).var(0)[:5]).mean())
    fit = LogisticRegression(C=0.1, max_iter=5000, tol=1e-8).fit(
        np.hstack([vicinity.probe_points, z @ axes.components_.T / root]), vicinity.probes.labels
    )
    slow = fit.predict_proba(np.hstack([vicinity.points, other @ axes.components_.T / root])) + 1e-3
    slow /= slow.sum(1, keepdims=True)
    source = np.bincount(vicinity.probes.labels, minlength=4) / len(vicinity.probes.labels)
    assert found.posterior.stack == pytest.approx(shifted(slow, source, found.posterior.shares), abs=0.02)


@pytest.mark.parametrize(("probes", "lean"), [(140, 1 / 5), (280, 1 / 17), (700, 1 / 101)])
def test_a_prediction_is_the_mean_probability_given_to_the_answers(probes, lean):
    made = world(3, models=4, samples=50, probes=probes)
    _, found = judged(made)
    crowd = em(voters(found.votes), 4)[0]
    posterior = (1 - lean) * (found.posterior.stack + found.posterior.votes) / 2 + lean * crowd
    by_hand = [np.mean([posterior[i, answer] for i, answer in enumerate(row)]) for row in found.votes]
    assert found.predicted == pytest.approx(by_hand)
    assert values(made) == pytest.approx(by_hand)


def test_it_ranks_well_where_probes_are_like_the_samples():
    taus = []
    for seed in range(1, 5):
        made = world(seed, models=14)
        order = np.argsort(np.argsort(values(made)))
        taus.append(np.corrcoef(order, np.argsort(np.argsort(made.accuracy)))[0, 1])
    assert np.mean(taus) > 0.7


def test_expected_f1_follows_the_metric_that_was_asked_for():
    made = world(4, models=6, labels=2)
    target = settle(made.target)
    metric = Metric("f1", label=1)
    found = judge(target.vicinity, made.candidates, ballots(made.candidates), metric)
    assert found.predicted == pytest.approx(expected(metric, found.posterior.mixed, found.votes))


# What no catalog may do to it


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_constant_model_moves_no_other_score(seed):
    made = world(seed, models=12, samples=250, probes=400)
    with_one = made.with_candidates([*made.candidates, constant(made.candidates[0], 0, 4)])
    assert np.abs(values(with_one)[:-1] - values(made)).max() < 0.02


@pytest.mark.parametrize("key", HARD_VOTES)
def test_hard_votes_do_not_mind_the_scale_of_logits(key):
    made = world(5, models=8)

    def scaled(table, factor):
        rows = table * factor
        return (rows - np.log(np.exp(rows).sum(1, keepdims=True))).astype(np.float32)

    louder = made.with_candidates(
        [
            replace(view, log_probs=scaled(view.log_probs, 0.3 + index), probe_log_probs=scaled(view.probe_log_probs, 0.3 + index))
            for index, view in enumerate(made.candidates)
        ]
    )
    assert np.nan_to_num(values(louder, key)) == pytest.approx(np.nan_to_num(values(made, key)), abs=1e-6)


def test_anchors_votes_do_not_mind_the_scale_either():
    made = world(5, models=8)
    louder = made.with_candidates([replace(v, log_probs=v.log_probs * 4, probe_log_probs=v.probe_log_probs * 4) for v in made.candidates])
    assert judged(louder)[1].posterior.votes == pytest.approx(judged(made)[1].posterior.votes, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_neither_the_order_of_models_nor_that_of_samples_or_probes_matters(seed):
    made, rng = world(seed, models=9, samples=60), np.random.default_rng(seed)
    models, samples, probes = rng.permutation(9), rng.permutation(60), rng.permutation(len(made.target.probes.labels))
    view = made.target.probes
    target = replace(
        made.target,
        features=made.target.features[samples],
        probes=ProbeView(view.features[probes], view.labels[probes], view.publishers[probes]),
    )
    candidates = [
        replace(c, log_probs=c.log_probs[samples], probe_log_probs=c.probe_log_probs[probes])
        for c in (made.candidates[place] for place in models)
    ]
    for key in ("anchor", "a_only"):
        found = np.array([estimate.value for estimate in FUNCTIONS[key](target, candidates)])
        assert found == pytest.approx(values(made, key)[models], abs=2e-3)


def test_twenty_five_copies_take_no_more_than_one_voice():
    """Twenty-five near copies of a bad model do not carry the others with them."""
    made = world(6, models=12, samples=250, probes=400)
    worst = made.candidates[int(np.argmin(made.accuracy))]
    rng = np.random.default_rng(0)
    copies = [
        replace(
            worst,
            log_probs=worst.log_probs + rng.normal(0, 0.05, worst.log_probs.shape).astype(np.float32),
            probe_log_probs=worst.probe_log_probs + rng.normal(0, 0.05, worst.probe_log_probs.shape).astype(np.float32),
        )
        for _ in range(25)
    ]
    crowded = made.with_candidates([*made.candidates, *copies])
    assert made.accuracy[np.argmax(values(crowded)[:12])] >= made.accuracy.max() - 0.05
    assert np.abs(values(crowded)[:12] - values(made)).mean() < 0.05


def test_wrong_probe_labels_lower_predictions_and_keep_the_leaders():
    made, rng = world(7, models=12, samples=250, probes=400), np.random.default_rng(0)
    view = made.target.probes
    labels = np.where(rng.random(len(view.labels)) < 0.3, rng.integers(0, 4, len(view.labels)), view.labels)
    noisy = replace(made, target=replace(made.target, probes=replace(view, labels=labels)))
    assert made.accuracy[np.argmax(values(noisy))] >= made.accuracy.max() - 0.05


@pytest.mark.parametrize("samples", [1, 2])
def test_one_sample_gives_finite_scores_and_wide_intervals(samples):
    made = world(8, models=6, samples=samples)
    for estimate in anchor(made.target, made.candidates):
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
        assert estimate.high - estimate.low > 0.3


def test_samples_of_a_single_label_give_finite_scores():
    made = world(9, models=6, balance=[1.0, 0, 0, 0])
    found = anchor(made.target, made.candidates)
    assert all(np.isfinite([e.value, e.low, e.high]).all() for e in found)


def test_another_label_space_is_refused():
    made = world(10, models=4)
    narrow = [replace(v, log_probs=v.log_probs[:, :3], probe_log_probs=v.probe_log_probs[:, :3]) for v in made.candidates]
    with pytest.raises(ValueError, match="label space"):
        anchor(made.target, narrow)
    with pytest.raises(ValueError, match="label space"):
        anchor(made.target, [made.candidates[0], replace(made.candidates[1], log_probs=made.candidates[1].log_probs[:, :3])])


def test_what_it_cannot_tell_it_says():
    made = world(11, models=3)
    view = made.target.probes
    few = replace(made.target, probes=ProbeView(view.features[:20], view.labels[:20], view.publishers[:20]))
    views = [replace(candidate, probe_log_probs=None) for candidate in made.candidates]
    for target, why in ((TargetView(200, {}), "probe"), (few, "50")):
        assert all(estimate.value is None and why in estimate.why for estimate in anchor(target, views))
    assert all(estimate.value is None for estimate in anchor(made.target, [CandidateView({}), CandidateView({})]))


def test_a_model_that_did_not_answer_the_probes_is_predicted_with_a_warning():
    made = world(12, models=6)
    views = [*made.candidates[:5], replace(made.candidates[5], probe_log_probs=None)]
    found = anchor(made.target, views)
    assert not any(estimate.why for estimate in found[:5])
    assert "not answered" in found[5].why
    assert abs(found[5].value - made.accuracy[5]) < 0.25


# Without anything run, and without probes


def test_the_prior_is_the_mean_of_cells_and_neighbours():
    made = world(13, models=7)
    told = {key: values(made, key) for key in ("a_only", "probe_cells", "probe_neighbours")}
    assert told["a_only"] == pytest.approx((told["probe_cells"] + told["probe_neighbours"]) / 2)


def test_a_model_with_nothing_but_its_publishers_word_stands_no_higher_than_the_middle():
    made = world(14, models=7)
    forged = {
        "features.sketch": made.target.features.astype(np.float16),
        "features.sketch_right": np.ones(len(made.target.features), np.uint8),
        "accuracy.n": np.array([200]),
        "accuracy.correct": np.array([200]),
    }
    views = [*made.candidates, CandidateView(forged)]
    found = a_only(made.target, views)
    assert found[-1].why
    assert found[-1].value == pytest.approx(np.median([estimate.value for estimate in found[:-1]]))


def test_without_probes_six_opinions_are_counted_and_predict_nothing():
    made = world(15, models=10)
    blind = replace(made.target, probes=None, features=None)
    found = FUNCTIONS["no_probe"](blind, made.candidates)
    shares = np.array([estimate.value for estimate in found])
    assert all(estimate.low is None and estimate.high is None for estimate in found)
    assert np.corrcoef(shares, made.accuracy)[0, 1] > 0.5
    crowd = np.array([estimate.value for estimate in dawid_skene(blind, made.candidates)], dtype=float)
    assert np.corrcoef(shares, crowd)[0, 1] > 0.5


def test_boards_of_one_search_share_a_panel():
    made = world(6)
    vicinity = settle(made.target).vicinity
    first = [replace(view, log_probs=view.log_probs[:50]) for view in made.candidates]
    judge(vicinity, first, ballots(first))
    panel = vicinity.panel
    judged = judge(vicinity, made.candidates, ballots(made.candidates))
    assert panel is not None and vicinity.panel is panel
    alone = judge(settle(made.target).vicinity, made.candidates, ballots(made.candidates))
    np.testing.assert_array_equal(judged.predicted, alone.predicted)
