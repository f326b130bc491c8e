"""The rank shown never parts what the paired comparison cannot, and never joins more than it must."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuworker.core.ranking.standing import Standing, standing
from search.models import Candidate, CandidateState
from search.ranks import shown_ranks


def board(mean: list[float], errors: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> tuple[Standing, list[int], list[Candidate]]:
    """Comparison, order of the board (best first), and its rows in that order; the errors' covariance is errors @ errors.T."""
    places = standing(np.arange(len(mean)), np.array(mean), errors @ errors.T, None, None)
    told = [places.of(index) for index in range(len(mean))]
    order = sorted(range(len(mean)), key=lambda index: (told[index][0], -mean[index]))  # type: ignore[index]
    rows = []
    for position, index in enumerate(order):
        low, high, _ = told[index]  # type: ignore[misc]
        rows.append(Candidate(pk=index, position=position, predicted=mean[index], rank_from=low, rank_to=high, samples_done=100))
    return places, order, rows


def drawn(count: int, seed: int) -> tuple[list[float], np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Means and errors of which some are shared, some large: a comparison that is no simple order."""
    draw = np.random.default_rng(seed)
    own = np.diag(draw.choice([0.005, 0.02, 0.06], count))
    shared = draw.normal(size=(count, 3)) * draw.choice([0.0, 0.02])
    return draw.uniform(0.5, 0.9, count).round(2).tolist(), np.concatenate([own, shared], axis=1)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 14), st.integers(0, 99_999))
def test_different_ranks_are_always_separable(count: int, seed: int) -> None:
    places, order, rows = board(*drawn(count, seed))
    ranks = shown_ranks(rows)
    shown = [ranks[index].rank for index in order]
    assert shown == sorted(shown), "groups stand together"
    for above in range(count):
        for below in range(above + 1, count):
            one, two = order[above], order[below]
            if shown[above] != shown[below]:
                assert places.better[one, two]
    for row in rows:
        rank = ranks[row.pk]
        assert rank.rank <= rank.low <= row.position + 1 <= rank.high
        assert rank.rank == 1 + sum(other < rank.rank for other in shown)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 14), st.integers(0, 99_999))
def test_a_group_is_held_together_by_pairs_that_cannot_be_separated(count: int, seed: int) -> None:
    places, _, rows = board(*drawn(count, seed))
    ranks = shown_ranks(rows)
    apart = places.better | places.better.T
    reached, left = {rows[0].pk: {rows[0].pk}}, [row.pk for row in rows]
    for pk in left:
        near, todo = {pk}, [pk]
        while todo:
            found = {int(other) for other in np.flatnonzero(~apart[todo.pop()])} - near
            near |= found
            todo += found
        reached[pk] = near
    for row in rows:
        assert {other.pk for other in rows if ranks[other.pk].rank == ranks[row.pk].rank} == reached[row.pk]


def test_a_chain_shares_one_rank_and_keeps_its_ranges() -> None:
    _, order, rows = board([0.80, 0.77, 0.74, 0.5], np.diag([0.014] * 3 + [0.01]))
    ranks = shown_ranks(rows)
    assert order == [0, 1, 2, 3]
    assert [(ranks[i].rank, ranks[i].low, ranks[i].high) for i in order] == [(1, 1, 2), (1, 1, 3), (1, 2, 3), (4, 4, 4)]
    assert [(ranks[i].tie, ranks[i].others, ranks[i].narrow) for i in order] == [
        ("first", 2, True),
        ("middle", 2, False),
        ("last", 2, True),
        ("", 0, False),
    ]


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 10), st.integers(0, 99_999), st.data())
def test_a_row_that_fails_between_two_boards_parts_nothing(count: int, seed: int, data: st.DataObject) -> None:
    _, order, rows = board(*drawn(count, seed))
    before = shown_ranks(rows)
    rows[data.draw(st.integers(0, count - 1))].state = CandidateState.FAILED
    after = shown_ranks(rows)
    assert len(after) == count - 1
    for one in after:
        for two in after:
            if before[one].rank == before[two].rank:
                assert after[one].rank == after[two].rank


def test_rows_without_a_rank_have_none() -> None:
    assert shown_ranks([Candidate(pk=1, position=0), Candidate(pk=2, position=1, rank_from=1, rank_to=1)]) == {}
