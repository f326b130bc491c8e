"""What a row of the board says, and what it must never say."""

from __future__ import annotations

from accounts.models import User
from catalog.models import ModelVersion
from search.models import Candidate, SampleSet, Search, SearchState
from search.rows import BASE_COLUMNS, board_columns, row_view, scorer_cell
from tests.search.factories import fail, make_search, run


def rows(search: Search) -> list[Candidate]:
    return list(search.candidates.order_by("position"))


def test_before_it_ran_there_is_no_figure(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = make_search(alice, samples, versions)
    candidate = rows(search)[0]
    candidate.predicted, candidate.rank_from = 0.9, 1  # whatever stands in the row, nothing was executed
    view = row_view(candidate, search)
    assert (view.grade, view.value, view.rank, view.p_best) == ("prior", None, None, "")


def test_cannot_tell_gives_a_cause_and_no_number(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = run(make_search(alice, samples, versions), accuracies=(0.9, None, 0.6))
    view = row_view(rows(search)[1], search)
    assert (view.grade, view.value, view.low, view.rank) == ("predicted", None, None, None)
    assert view.cannot_tell == "Its label sets do not match."


def test_between_its_predictions_and_their_judgement_a_row_says_nothing(
    alice: User, samples: SampleSet, versions: list[ModelVersion]
) -> None:
    """The first chunk is done, the rung is not: why it stands where it does is still the prior's word."""
    search = make_search(alice, samples, versions)
    candidate = rows(search)[0]
    candidate.samples_done, candidate.why = 32, "Histogram distance: place 1 of 3."
    candidate.scores = {"source_accuracy": {"value": 0.9, "low": None, "high": None, "why": ""}}
    view = row_view(candidate, search)
    assert (view.grade, view.value, view.cannot_tell) == ("prior", None, "")


def test_a_failed_row_keeps_no_figure_and_offers_another_try(finished: Search) -> None:
    candidate = rows(finished)[0]
    fail(candidate)
    view = row_view(candidate, finished)
    assert (view.value, view.rank, view.retry, view.grade) == (None, None, True, "prior")
    finished.state = SearchState.RUNNING
    assert not row_view(candidate, finished).retry, "a run that has begun takes no row back in"


def test_rows_of_one_rank_are_bracketed(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = run(make_search(alice, samples, versions))
    search.candidates.update(rank_from=1, rank_to=3)
    ranks = [row_view(row, search).rank for row in rows(search)]
    assert [(rank.rank, rank.tie) for rank in ranks if rank] == [(1, "first"), (1, "middle"), (1, "last")]
    assert {row_view(row, search).rank_range for row in rows(search)} == {"1–3"}
    fail(rows(search)[2])
    again = Search.objects.get(pk=search.pk)
    left = [row_view(row, again).rank for row in rows(again)]
    assert [rank and rank.tie for rank in left] == ["first", "last", None]


def test_p_best_is_never_shown_as_certain(finished: Search) -> None:
    candidate = rows(finished)[0]
    for value, text in ((0.9999, "> 99 %"), (0.0001, "< 1 %"), (0.5, "50 %")):
        candidate.p_best = value
        assert row_view(candidate, finished).p_best == text


def test_scorer_columns_carry_their_grade(finished: Search) -> None:
    grades = {column.key: column.grade for column in board_columns(finished) if column not in BASE_COLUMNS}
    assert grades["s-jsd_hist"] == "prior"
    assert grades["s-source_accuracy"] == "prior"
    assert grades["s-dawid_skene"] == "predicted"


def test_only_scorers_that_were_asked_or_made_the_prior_order_have_columns(finished: Search) -> None:
    finished.scorers = ["dawid_skene", "entropy", "cot"]
    keys = {column.key for column in board_columns(finished)}
    assert {"s-dawid_skene", "s-entropy", "s-cot", "s-jsd_hist", "s-source_accuracy"} <= keys
    assert not keys & {"s-hellinger_sq", "s-mmd", "s-average_confidence", "s-anchor"}


def test_estimates_of_accuracy_are_percentages_and_other_scores_are_not(finished: Search) -> None:
    candidate = rows(finished)[0]
    candidate.scores = {"cot": {"value": 0.8125}, "entropy": {"value": 0.8125}}
    assert [scorer_cell(candidate, key).text for key in ("cot", "entropy")] == ["81.2 %", "0.812"]


def test_one_point_is_no_trend(finished: Search) -> None:
    candidate = rows(finished)[0]
    assert row_view(candidate, finished).spark
    candidate.history = candidate.history[:1]
    assert row_view(candidate, finished).spark == ""
    candidate.history = [[10, None, None, None], [20, None, None, None]]
    assert row_view(candidate, finished).spark == ""


def test_rows_are_written_in_the_named_fields_only(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = make_search(alice, samples, versions)
    first, second, gone = rows(search)
    told = {"atc": {"value": 0.1 + 0.2, "why": '50 %, it\'s "so"'}}
    first.scores, first.predicted, first.history, first.samples_done = told, 0.1 + 0.2, [[32, 0.3, None, 1.0]], 99
    second.scores, second.predicted, second.history = {}, None, []
    Candidate.objects.filter(pk=gone.pk).delete()
    Candidate.objects.write([gone, first, second], ["history", "predicted", "scores"])
    found = rows(search)
    assert [row.pk for row in found] == [first.pk, second.pk], "what was deleted stays so"
    assert (found[0].scores, found[0].predicted, found[0].history) == (told, 0.1 + 0.2, [[32, 0.3, None, 1.0]])
    assert (found[1].scores, found[1].predicted, found[1].history, found[0].samples_done) == ({}, None, [], 0)
