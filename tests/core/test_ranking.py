import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuworker.core import signatures
from gpuworker.core.errors import ExecutionFailed
from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.core.ranking import Failed, Finished, Measured, Planned, Scored, board, one_by_one, prior, rank, rungs
from gpuworker.core.ranking.standing import standing
from gpuworker.core.scorers.shift import Shift
from tests.core.scorers.worlds import crowd, log_probs, views

NEAR = Shift(0.0, 0.0)


def near_board(candidates, n):
    return board(TargetView(n, {}), candidates, measured=[NEAR] * len(candidates))


def clear_winner(n=600):
    """Seven models of about 60 % and one of about 97 %, which the others agree with where they are right."""
    rng = np.random.default_rng(0)
    truth, answers = crowd(rng, 8, n, 4, ability=0.2, spread=0.1, shared=0.0)
    answers[5] = np.where(rng.random(n) < 0.97, truth, (truth + 1) % 4)
    return truth, answers


# Prior order


def reference(seed, power, accuracy=None):
    values = np.random.default_rng(seed).random((200, 6)) ** power
    parts = signatures.compute("image", values=values)
    if accuracy is not None:
        parts |= {"accuracy.correct": np.array([accuracy]), "accuracy.n": np.array([100])}
    return parts


def test_the_prior_order_puts_the_closest_first_and_the_unknown_last():
    target = TargetView(200, reference(0, 1))
    found = prior(
        target, [CandidateView(reference(1, 6)), CandidateView({}), CandidateView(reference(2, 1)), CandidateView(reference(3, 3))]
    )
    assert [score.position for score in found] == [3, 4, 1, 2]
    assert found[1].score is None
    assert "last" in found[1].why
    assert "place 1 of 3" in found[2].why


def test_self_reported_accuracy_only_breaks_ties():
    target = TargetView(200, reference(0, 1))
    candidates = [CandidateView(reference(1, 1, 60)), CandidateView(reference(1, 1, 90)), CandidateView(reference(2, 6, 100))]
    assert [score.position for score in prior(target, candidates)] == [2, 1, 3]


def test_equal_signatures_share_a_place():
    target = TargetView(200, reference(0, 1))
    assert [s.position for s in prior(target, [CandidateView(reference(1, 2))] * 3)] == [1, 1, 1]


def test_equal_figures_of_different_signatures_do_not_go_by_the_order_given():
    target = TargetView(200, reference(0, 1))
    two = [CandidateView(reference(1, 2)), CandidateView(reference(1, 2) | {"unread": np.ones(1)})]
    here = [score.position for score in prior(target, two)]
    assert sorted(here) == [1, 2] and [score.position for score in prior(target, two[::-1])] == here[::-1]


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)))
def test_the_prior_order_does_not_depend_on_the_order_given(order):
    target = TargetView(200, reference(0, 1))
    candidates = [CandidateView(reference(seed % 3, 1 + seed % 3, 80)) for seed in range(4)] + [CandidateView({}), CandidateView({})]
    here = [score.position for score in prior(target, candidates)]
    there = [score.position for score in prior(target, [candidates[i] for i in order])]
    assert there == [here[i] for i in order]


def test_no_candidates_have_no_prior():
    assert prior(TargetView(3, {}), []) == []


# Board and verdict


def test_a_clear_winner_is_recommended():
    truth, answers = clear_winner()
    found = near_board(views(answers, 4), 600)
    assert found.verdict.kind == "recommend"
    assert found.verdict.leaders == (5,)
    assert found.order[0] == 5
    row = found.rows[5]
    assert (row.rank_from, row.rank_to, row.grade, row.method, row.samples) == (1, 1, "predicted", "dawid_skene", 600)
    assert row.low <= (answers[5] == truth).mean() <= row.high
    assert row.p_best > 0.95
    assert f"{100 * row.predicted:.0f} %" in found.verdict.sentence


def test_probabilities_of_being_best_sum_to_one():
    _, answers = crowd(np.random.default_rng(1), 9, 200, 3)
    found = near_board(views(answers, 3), 200)
    assert sum(row.p_best for row in found.rows) == pytest.approx(1)
    for row in found.rows:
        assert 1 <= row.rank_from <= row.rank_to <= 9
    firsts = [found.rows[index].rank_from for index in found.order]
    assert firsts == sorted(firsts)


def test_models_that_cannot_be_separated_share_their_places():
    _, answers = crowd(np.random.default_rng(2), 6, 60, 3, spread=0.05)
    found = near_board(views(answers, 3), 60)
    assert found.verdict.kind == "tie"
    assert set(found.verdict.leaders) == {row.index for row in found.rows if row.rank_from == 1}
    assert len(found.verdict.leaders) >= 3
    assert "label" in found.verdict.next_step.lower()


def test_clones_share_places_and_the_win():
    _, answers = clear_winner()
    found = near_board(views(np.concatenate([answers, answers[5:6]]), 4), 600)
    one, two = found.rows[5], found.rows[8]
    assert (one.rank_from, one.rank_to) == (two.rank_from, two.rank_to) == (1, 2)
    assert one.p_best == pytest.approx(two.p_best, abs=0.02)
    assert found.verdict.kind == "tie"
    assert "alike on 100 %" in found.verdict.next_step


def test_pairs_are_compared_on_the_same_samples():
    # Both have an uncertainty of .05 of their own; what they share cancels.
    mean = np.array([0.8, 0.77])
    alone, shared = np.diag([0.0025, 0.0025]), np.array([[0.0025, 0.0024], [0.0024, 0.0025]])
    ran = np.arange(2)
    assert not standing(ran, mean, alone, None, None).better.any()
    assert standing(ran, mean, shared, None, None).better.tolist() == [[False, True], [False, False]]


def test_rounding_does_not_decide_between_copies():
    covariance = np.full((2, 2), 0.0025)
    covariance[1, 1] += 1e-13
    found = standing(np.arange(2), np.array([0.8, 0.8 + 1e-9]), covariance, None, None)
    assert found.p_best == pytest.approx([0.5, 0.5])
    assert not found.better.any()


@pytest.mark.parametrize(
    ("answers", "kind", "cause", "step"),
    [
        (np.zeros((0, 0), dtype=np.int64), "cannot_tell", "No candidate has run", "Wait"),
        (np.array([[0], [1], [2]]), "cannot_tell", "chance", "29 more"),
        (np.zeros((4, 1), dtype=np.int64), "cannot_tell", "chance", "30 samples"),
        (np.zeros((4, 90), dtype=np.int64), "tie", "alike", "smallest"),
        (np.arange(90)[None] % 3, "cannot_tell", "at least 3", "more candidates"),
        (np.stack([np.arange(90) % 3, np.arange(90) % 2]), "cannot_tell", "at least 3", "Label 20"),
        (np.random.default_rng(0).integers(0, 3, (8, 200)), "cannot_tell", "by chance", "Label 20"),
    ],
)
def test_what_cannot_be_known_is_said_with_cause_and_next_step(answers, kind, cause, step):
    found = near_board(views(answers, 3), answers.shape[1])
    assert found.verdict.kind == kind
    assert cause in found.verdict.cause
    assert step in found.verdict.next_step
    assert found.verdict.sentence
    assert all(row.predicted is None and row.low is None and row.p_best in (None, row.p_best) for row in found.rows)
    assert sorted(found.order) == list(range(len(answers)))


def test_samples_unlike_every_reference_are_named_and_recommend_less():
    _, answers = clear_winner()
    far = board(TargetView(600, {}), views(answers, 4), measured=[Shift(0.95, 0.85)] * 8)
    assert "unlike every reference" in far.verdict.cause
    near = near_board(views(answers, 4), 600)
    assert far.rows[5].high - far.rows[5].low > near.rows[5].high - near.rows[5].low
    assert far.rows[5].p_best <= near.rows[5].p_best


def test_unequal_progress_is_compared_on_the_common_samples():
    _, answers = clear_winner()
    candidates = views(answers, 4)
    candidates[0] = CandidateView({}, candidates[0].log_probs[:200])
    found = near_board(candidates, 600)
    assert found.n == 200
    assert [row.samples for row in found.rows] == [200] * 8
    cut = near_board([CandidateView({}, view.log_probs[:200]) for view in candidates], 600)
    assert found.rows == cut.rows


def test_candidates_that_did_not_run_keep_the_prior_grade():
    _, answers = clear_winner()
    candidates = [*views(answers, 4), CandidateView({}), CandidateView({}, np.zeros((0, 4), dtype=np.float32))]
    found = near_board(candidates, 600)
    for row in found.rows[8:]:
        assert (row.grade, row.samples, row.predicted, row.rank_from) == ("prior", 0, None, None)
        assert "not run" in row.why
    assert set(found.order[-2:]) == {8, 9}
    assert "2 candidates did not take part" in found.verdict.cause


def test_a_constant_model_is_marked():
    _, answers = clear_winner()
    found = near_board(views(np.concatenate([answers, np.zeros((1, 600), dtype=np.int64)]), 4), 600)
    assert "one label" in found.rows[8].why
    assert found.rows[8].rank_from > 1


def two_with_thresholds(threshold_b):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 4)).astype(np.float32)
    shared = signatures.compute("image", features=features)
    confidence = np.linspace(0.5, 1, 200, endpoint=False)
    rows = np.log(np.stack([confidence, 1 - confidence], axis=1)).astype(np.float32)

    def view(threshold, answers):
        parts = {
            "atc_thresholds.max_confidence": np.array([threshold]),
            "atc_thresholds.max_confidence_replicates": np.full(200, threshold, dtype=np.float32),
            "atc_thresholds.n": np.array([300]),
        }
        return CandidateView(shared | parts, answers)

    swapped = np.where(np.arange(200)[:, None] % 2, rows, rows[:, ::-1])
    return TargetView(200, shared), [view(0.55, rows[:, ::-1]), view(threshold_b, swapped)]


def test_two_models_are_separated_by_atc_only_where_it_is_clear():
    clear = board(*two_with_thresholds(0.9))
    assert clear.verdict.kind == "recommend"
    assert [row.method for row in clear.rows] == ["atc", "atc"]
    assert (clear.rows[0].rank_from, clear.rows[1].rank_from) == (1, 2)
    close = board(*two_with_thresholds(0.56))
    assert close.verdict.kind == "tie"
    assert close.rows[1].rank_from == 1


def test_one_model_without_a_prediction_could_be_the_best():
    target, (one, two) = two_with_thresholds(0.9)
    found = board(target, [one, CandidateView({}, two.log_probs)])
    assert found.verdict.kind == "cannot_tell"
    assert found.rows[0].predicted is not None
    assert found.rows[0].rank_from is None


def test_an_unknown_scorer_is_a_defect():
    with pytest.raises(KeyError):
        board(TargetView(3, {}), views(np.zeros((2, 3), dtype=np.int64), 2), ["no_such"])


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 9999))
def test_order_of_candidates_and_samples_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    _, answers = crowd(rng, 7, 150, 3, spread=1.2)
    models, samples = rng.permutation(7), rng.permutation(150)
    here, there = near_board(views(answers, 3), 150), near_board(views(answers[models][:, samples], 3), 150)
    for place, model in enumerate(models):
        a, b = here.rows[model], there.rows[place]
        assert a.predicted == pytest.approx(b.predicted, abs=2e-3)
        assert a.p_best == pytest.approx(b.p_best, abs=0.03)
        assert abs(a.rank_from - b.rank_from) <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 50), st.integers(2, 4), st.integers(0, 999))
def test_any_answers_make_a_finite_board(models, n, labels, seed):
    answers = np.random.default_rng(seed).integers(0, labels, (models, n))
    found = board(TargetView(n, {}), views(answers, labels))
    for row in found.rows:
        figures = [row.predicted, row.low, row.high, row.p_best]
        assert all(value is None or np.isfinite(value) for value in figures)
        assert row.predicted is not None or row.why
    assert found.verdict.cause
    assert found.verdict.next_step


# The run


def asked_for(outputs, calls, fail=None):
    def predict(candidate, start, stop):
        calls.append((candidate, start, stop))
        if fail == (candidate, start):
            raise ExecutionFailed("It broke.")
        return outputs[candidate][start:stop]

    return predict


def outputs_of(models, n):
    return [log_probs(row, 4) for row in crowd(np.random.default_rng(3), models, n, 4)[1]]


def test_rungs_end_with_all_samples():
    assert rungs(10) == (10,)
    assert rungs(32) == (32,)
    assert rungs(600) == (32, 128, 512, 600)


def test_a_run_asks_for_each_row_once_and_ends_with_the_full_board():
    outputs, calls = outputs_of(5, 200), []
    events = list(rank(TargetView(200, {}), [CandidateView({})] * 5, one_by_one(asked_for(outputs, calls))))
    assert isinstance(events[0], Planned)
    assert (events[0].rungs, events[0].rows_known, events[0].rows_to_run) == ((32, 128, 200), 0, 1000)
    assert calls == [(m, a, b) for a, b in ((0, 32), (32, 128), (128, 200)) for m in range(5)]
    assert [e.samples for e in events if isinstance(e, Measured) and e.candidate == 2] == [32, 128, 200]
    assert [(e.rung, e.board.n) for e in events if isinstance(e, Scored)] == [(1, 32), (2, 128), (3, 200)]
    assert isinstance(events[-1], Finished)
    assert events[-1].board == board(TargetView(200, {}), [CandidateView({}, x) for x in outputs])


@pytest.mark.parametrize("known", [(200,) * 5, (32, 32, 32, 0, 0), (128,) * 5, (200, 50, 0, 7, 128)])
def test_a_resumed_run_asks_for_nothing_it_has_and_ends_alike(known):
    outputs, calls, whole = outputs_of(5, 200), [], []
    undisturbed = list(rank(TargetView(200, {}), [CandidateView({})] * 5, one_by_one(asked_for(outputs, whole))))
    candidates = [CandidateView({}, x[:k] if k else None) for x, k in zip(outputs, known, strict=True)]
    events = list(rank(TargetView(200, {}), candidates, one_by_one(asked_for(outputs, calls))))
    assert events[0].rows_known == sum(known)
    assert sum(stop - start for _, start, stop in calls) == events[0].rows_to_run == 1000 - sum(known)
    assert all(start >= known[m] for m, start, _ in calls)
    assert events[-1] == undisturbed[-1]
    if known == (200,) * 5:
        assert len([e for e in events if isinstance(e, Scored)]) == 1


def test_a_failing_model_leaves_and_holds_nobody_back():
    outputs, calls = outputs_of(5, 200), []
    events = list(rank(TargetView(200, {}), [CandidateView({})] * 5, one_by_one(asked_for(outputs, calls, fail=(3, 32)))))
    (failure,) = [e for e in events if isinstance(e, Failed)]
    assert (failure.candidate, failure.error.title) == (3, "It broke.")
    assert [call for call in calls if call[0] == 3] == [(3, 0, 32), (3, 32, 128)]
    last = events[-1].board
    assert last.n == 200
    assert last.rows[3].grade == "prior"
    resumed, again = [], []
    candidates = [CandidateView({}, x[:32]) for x in outputs]
    resumed = list(rank(TargetView(200, {}), candidates, one_by_one(asked_for(outputs, again)), failed=[3]))
    assert all(call[0] != 3 for call in again)
    assert resumed[-1].board == last


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        (np.zeros((5, 4), dtype=np.float32), "unexpected shape"),
        (np.zeros(40, dtype=np.float32), "unexpected shape"),
        (np.full((40, 4), np.nan, dtype=np.float32), "NaN"),
    ],
)
def test_unusable_outputs_end_one_candidate(rows, title):
    outputs = outputs_of(4, 40)

    def predict(candidate, start, stop):
        return rows[start:stop] if candidate == 1 and len(rows) == 40 else rows if candidate == 1 else outputs[candidate][start:stop]

    events = list(rank(TargetView(40, {}), [CandidateView({})] * 4, one_by_one(predict)))
    (failure,) = [e for e in events if isinstance(e, Failed)]
    assert failure.candidate == 1
    assert title in failure.error.title
    assert events[-1].board.n == 40


def test_a_defect_ends_the_run():
    def predict(candidate, start, stop):
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError):
        list(rank(TargetView(40, {}), [CandidateView({})] * 2, one_by_one(predict)))


def test_all_candidates_may_fail():
    def predict(candidate, start, stop):
        raise ExecutionFailed("It broke.")

    events = list(rank(TargetView(40, {}), [CandidateView({})] * 2, one_by_one(predict)))
    assert events[-1].board.verdict.kind == "cannot_tell"
    assert events[-1].board.n == 0
