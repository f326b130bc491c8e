"""Candidates that leave a search early: what their rows say, that nobody asks them again, and that an interrupted race ends the same."""

from __future__ import annotations

import pytest

from accounts.models import Team, User
from catalog.models import ModelVersion
from gpuworker.core.ranking import Board, Left, race
from jobs.models import JobState
from search.board import share_done
from search.models import CandidateState, SampleSet, Search, SearchEvent
from search.services import search_start
from tests.pipeline.worlds import board, count_calls, interrupted, published, sample_set, searched, spans, work

pytestmark = pytest.mark.django_db(transaction=True)
GRID = [(0, 32), (32, 128), (128, 200)]


@pytest.fixture
def models(team: Team, alice: User) -> list[ModelVersion]:
    return [published(team, alice, name) for name in ("one", "fifth", "thirteen")]


@pytest.fixture
def shots(alice: User) -> SampleSet:
    return sample_set(alice, 200)


@pytest.fixture(autouse=True)
def last_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the second rung the last of the board leaves."""

    def leaving(found: Board, rung: int, level: float) -> tuple[Left, ...]:
        return (Left(found.order[-1], rung, found.n, 0.004, level),) if rung == 2 else ()

    monkeypatch.setattr(race, "leaving", leaving)


def test_the_row_says_when_and_why_and_keeps_its_figures(models: list[ModelVersion], shots: SampleSet, alice: User) -> None:
    search = searched(alice, shots)
    gone = search.candidates.get(state=CandidateState.ELIMINATED)
    assert (gone.samples_done, spans(gone)) == (128, GRID[:2])
    assert gone.why.startswith("Left the race after 128 samples") and "under 2 %" in gone.why
    assert gone.predicted is not None and gone.low <= gone.predicted <= gone.high and gone.scores
    assert gone.position == 2 and gone.rank_from == 3
    others = search.candidates.exclude(pk=gone.pk)
    assert {(row.state, row.samples_done) for row in others} == {(CandidateState.FINISHED, 200)}
    assert search.samples_done == 200 and search.rungs_done == 3
    events = SearchEvent.objects.filter(search=search, kind="rung")
    assert [event.payload["left"] for event in events if event.payload["left"]] == [[gone.pk]]
    assert share_done([(row.state, row.samples_done, row.seconds) for row in search.candidates.all()], 200) == 1.0


def test_nobody_leaves_where_nobody_may(models: list[ModelVersion], shots: SampleSet, alice: User) -> None:
    search = searched(alice, shots, drop_level=None)
    assert {row.samples_done for row in search.candidates.all()} == {200}


@pytest.mark.parametrize("number", [5, 6, 7, 8])
@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
def test_an_interrupted_race_ends_as_an_undisturbed_one(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch, number: int, after: bool
) -> None:
    expected = board(searched(alice, shots))
    search = search_start(owner=alice, sample_set=shots)
    job = interrupted(monkeypatch, search, number, after=after)
    calls = count_calls(monkeypatch)
    assert work(job).state == JobState.SUCCEEDED
    assert len(calls) == len(set(calls))
    found = Search.objects.get(pk=search.pk)
    assert board(found) == expected
    assert found.candidates.get(state=CandidateState.ELIMINATED).samples_done == 128
