"""The race with candidates that leave it: who may, when, and that an interrupted race ends as an undisturbed one."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from gpuworker.core.errors import ExecutionFailed
from gpuworker.core.metrics import Metric
from gpuworker.core.probes import settle
from gpuworker.core.ranking import Board, Dropped, Failed, Measured, Scored, board, one_by_one, rank, rungs
from gpuworker.core.ranking.leaving import LEAST_RACERS, leaving
from gpuworker.core.ranking.standing import standing
from gpuworker.core.scorers.anchor import judge, ready
from gpuworker.core.scorers.answers import ballots
from gpuworker.core.specs import DROP_LEVEL
from tests.core.probes.worlds import constant, world

N = 200


def racers(good=10, bad=8):
    """Good models of a world with probes, and models that always give one label."""
    made = world(3, models=good, samples=N)
    constants = [constant(made.candidates[0], number % 4, 4) for number in range(bad)]
    return made.with_candidates([*made.candidates, *constants])


def run(made, *, known=None, failed=(), left=None, decided=0, drop=DROP_LEVEL, fails=None, calls=None, short=lambda: False):
    outputs = [view.log_probs for view in made.candidates]
    views = [replace(view, log_probs=None) for view in made.candidates]
    if known is not None:
        views = [replace(v, log_probs=x[:k] if k else None) for v, x, k in zip(views, outputs, known, strict=True)]

    def predict(index, start, stop):
        if calls is not None:
            calls.append((index, start, stop))
        if fails == (index, start):
            raise ExecutionFailed("It broke.")
        return outputs[index][start:stop]

    execute = one_by_one(predict)
    return list(rank(made.target, views, execute, failed=failed, drop=drop, left=left or {}, decided=decided, short=short))


def boards(events):
    return [event.board for event in events if isinstance(event, Scored)]


def test_hopeless_candidates_leave_and_are_not_asked_again():
    made, calls = racers(), []
    events = run(made, calls=calls)
    dropped = [event.left for event in events if isinstance(event, Dropped)]
    assert {left.candidate for left in dropped} & set(range(10, 18))
    for left in dropped:
        assert left.chance < DROP_LEVEL
        assert left.samples == rungs(N)[left.rung - 1]
        assert max(stop for index, _, stop in calls if index == left.candidate) == left.samples
        assert f"after {left.samples} samples" in left.reason
    last = events[-1].board
    assert last.left == tuple(sorted(left.candidate for left in dropped))
    assert last.order[: 18 - len(dropped)] == tuple(index for index in last.order if index not in last.left)
    for left in dropped:
        row = last.rows[left.candidate]
        assert row.left
        assert row.samples == left.samples
        assert row.rank_from > 18 - len(dropped)
        assert left.reason in row.why
    assert f"{len(dropped)} candidates had left" in last.verdict.cause
    assert made.accuracy[last.order[0]] >= made.accuracy.max() - 0.05


def test_the_board_of_a_rung_comes_before_the_candidates_that_leave_with_it():
    events = run(racers())
    first = next(place for place, event in enumerate(events) if isinstance(event, Dropped))
    assert isinstance(events[first - 1], Scored)
    marked = events[first - 1].board
    leaving_now = [
        event.left.candidate for event in events[first:] if isinstance(event, Dropped) and event.left.rung == events[first - 1].rung
    ]
    assert sorted(leaving_now) == list(marked.left)


def test_everybody_runs_to_the_end_unless_asked_otherwise():
    made, calls = racers(), []
    events = run(made, drop=None, calls=calls)
    assert not any(isinstance(event, Dropped) for event in events)
    assert sum(stop - start for _, start, stop in calls) == 18 * N
    assert events[-1].board == board(made.target, made.candidates)


def test_nobody_leaves_a_small_field():
    made = racers(good=3, bad=LEAST_RACERS - 3)
    assert not any(isinstance(event, Dropped) for event in run(made, drop=0.5))


def test_at_least_eight_stay_those_of_the_highest_prediction():
    events = run(racers(), drop=0.999)
    last = events[-1].board
    assert 18 - len(last.left) == LEAST_RACERS


def test_nobody_leaves_a_board_that_cannot_tell():
    made = racers()
    found = board(made.target, made.candidates)
    assert leaving(found, 1, 0.5)
    silent = replace(found, verdict=replace(found.verdict, kind="cannot_tell"))
    assert leaving(silent, 1, 0.5) == ()
    assert leaving(replace(found, standing=None), 1, 0.5) == ()


def test_the_chance_of_being_close_counts_those_within_a_point():
    mean = np.array([0.8, 0.795, 0.78, 0.5])
    found = standing(np.arange(4), mean, np.diag(np.full(4, 1e-12)), None, None)
    assert found.p_close.tolist() == [1, 1, 0, 0]
    assert found.p_best.tolist() == [1, 0, 0, 0]
    # One of two whose difference is N(0, 0.02^2): P(difference > -0.01) = 0.69.
    pair = standing(np.arange(2), np.array([0.6, 0.6]), np.diag(np.full(2, 0.0002)), None, None)
    assert pair.p_close == pytest.approx([0.69, 0.69], abs=0.03)
    # Tails twice as wide: 0.01 is a quarter of a deviation and P = 0.6; who wins is not asked again.
    wide = standing(np.arange(2), np.array([0.6, 0.6]), np.diag(np.full(2, 0.0002)), None, None, tail=2.0)
    assert wide.p_close == pytest.approx([0.6, 0.6], abs=0.03)
    assert wide.p_best.tolist() == pair.p_best.tolist()


def test_many_small_chances_of_being_best_make_a_large_one():
    """Of 29 candidates 21 lie 2.6 deviations behind eight that are alike: each has hardly a chance, all together have one in eight."""
    mean, ran = np.array([0.8] * 8 + [0.7] * 21), np.arange(29)
    alike = np.full((8, 8), 0.9999 * 0.0014) + np.eye(8) * 0.0001 * 0.0014
    covariance = np.diag(np.full(29, 0.0014))
    covariance[:8, :8] = alike
    places = standing(ran, mean, covariance, None, None)
    found = replace(board(racers().target, racers().candidates), standing=places)
    assert places.won[:, 8:].any(1).mean() > 0.05
    few = leaving(found, 1, 0.1)
    assert 0 < len(few) < 21
    gone = [left.candidate for left in few]
    assert places.won[:, gone].any(1).mean() < 0.05
    assert all(places.p_close[place] < 0.1 for place in range(8, 29)), "each by itself might leave"


@pytest.mark.parametrize("cut", (1, 12, 19, 20, 22, 30, 36, 44))
def test_a_race_that_was_cut_off_ends_as_an_undisturbed_one(cut):
    """Cut after any event; what was kept: predictions, failures, and with every board its rung and the rows that left."""
    made = racers()
    whole = run(made, fails=(4, 32))
    known, failed, left, decided = [0] * 18, [], {}, 0
    for event in whole[:cut]:
        match event:
            case Measured(index, samples):
                known[index] = samples
            case Failed(index, _):
                failed.append(index)
            case Scored(rung, found):
                left, decided = {index: found.rows[index] for index in found.left}, rung
    calls = []
    resumed = run(made, known=known, failed=failed, left=left, decided=decided, fails=(4, 32), calls=calls)
    assert resumed[-1].board == whole[-1].board
    assert all(start >= known[index] for index, start, _ in calls)
    assert not {index for index, _, _ in calls} & set(left)
    assert whole[-1].board.left


def test_a_rung_that_was_decided_is_not_decided_again():
    made = racers()
    rungs_left = {
        decided: [e.left.rung for e in run(made, known=[32] * 18, decided=decided) if isinstance(e, Dropped)] for decided in (0, 1)
    }
    assert 1 in rungs_left[0]
    assert 1 not in rungs_left[1]


def test_a_race_goes_by_the_metric_that_was_asked_for():
    made = racers()
    views = [replace(view, log_probs=None) for view in made.candidates]
    outputs = [view.log_probs for view in made.candidates]
    events = rank(made.target, views, one_by_one(lambda i, a, b: outputs[i][a:b]), metric=Metric("macro_f1"))
    found = [event.board for event in events if isinstance(event, Scored)]
    assert all(isinstance(one, Board) and one.metric.kind == "macro_f1" for one in found)


def test_a_short_run_is_scored_at_its_end_alone():
    """Nobody leaves, and the last rung keeps its number; so it is with rows that are known, and with those that left before."""
    made, calls = racers(), []
    short = run(made, calls=calls, short=lambda: True)
    assert [(event.rung, event.board.n) for event in short if isinstance(event, Scored)] == [(len(rungs(N)), N)]
    assert sorted(calls) == [(index, 0, N) for index in range(18)]
    assert boards(short) == boards(run(made, drop=None))[-1:]
    assert boards(run(made, known=[rungs(N)[0]] * 18, short=lambda: True)) == boards(short)
    full, first = run(made), rungs(N)[0]
    gone = {event.left.candidate for event in full if isinstance(event, Dropped) and event.left.rung == 1}
    calls.clear()
    again = run(made, known=[first] * 18, left={i: boards(full)[0].rows[i] for i in gone}, decided=1, short=lambda: True, calls=calls)
    assert gone and set(boards(again)[0].left) == gone
    assert sorted(calls) == [(index, first, N) for index in range(18) if index not in gone]


def test_what_boards_need_is_worked_out_while_candidates_run(monkeypatch):
    made, seen = racers(), []
    race = importlib.import_module("gpuworker.core.ranking.race")
    real = race.ready
    monkeypatch.setattr(race, "ready", lambda *given: (seen.append("ready"), real(*given)))

    def execute(wanted, stop):
        seen.append("begun")

        def found():
            seen.append("asked")
            yield from ((index, made.candidates[index].log_probs[start:stop]) for index, start in wanted.items())

        return found()

    views = [replace(view, log_probs=None) for view in made.candidates]
    found = boards(list(rank(made.target, views, execute)))
    assert seen[:3] == ["begun", "ready", "asked"] and seen.count("ready") == 1
    assert found == boards(run(made, drop=None))


def test_nothing_is_worked_out_for_those_that_take_no_more_part(monkeypatch):
    made, seen = racers(), []
    race = importlib.import_module("gpuworker.core.ranking.race")
    monkeypatch.setattr(race, "ready", lambda target, views: seen.append(len(views)))
    first = rungs(N)[0]
    left = {index: boards(run(made))[0].rows[index] for index in boards(run(made))[0].left}
    seen.clear()
    run(made, known=[first] * 18, failed=[0], left=left, decided=1)
    assert left and seen == [18 - 1 - len(left)]


def test_what_was_worked_out_before_predictions_came_is_what_boards_find():
    made = settle(racers().target)
    views = racers().candidates
    ready(made, views)
    panel, before = made.vicinity.panel, set(vars(made.vicinity.panel))
    assert {"voice", "weights", "confusion", "_stack", "linear", "near"} <= before
    judge(made.vicinity, views, ballots(views))
    assert made.vicinity.panel is panel and set(vars(panel)) == before
