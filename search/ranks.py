"""The rank that a row shows: rows that cannot be told apart share one, whatever pairs among them can be.

A candidate is better than another where their paired difference exceeds its uncertainty (`gpuworker.core.ranking.standing`).
"Better" is transitive; "not separable" is not: A may be better than C while neither can be told from B. So the board is cut only
where every row above is better than every row below. Rows between two cuts share the first place among them: two rows with
different ranks are always separable, and two that are not always share one. What is known inside such a group stands in each
row's own range, from `rank_from` (one more than are better) to `rank_to` (all but those that are worse).

The cuts need no pairs. The board's order puts a row behind all that are better, so a row begins a group exactly where as many are
better as stand above it: `rank_from` is its place. A row that failed since the last board leaves its place empty until the next
one; that can only join groups, never part them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from search.models import Candidate, CandidateState

Tie = Literal["", "first", "middle", "last"]
NEEDED = ("pk", "search_id", "state", "position", "predicted", "rank_from", "rank_to")


@dataclass(frozen=True, slots=True)
class Rank:
    """rank: shown, from 1. tie: the row's part of its group's bracket. others: rows in the group beside it.

    low, high: the places that the row itself may hold. narrow: whether those are fewer than the group's, so that they say more.
    """

    rank: int
    tie: Tie
    others: int
    low: int
    high: int
    narrow: bool


def shown_ranks(candidates: Iterable[Candidate]) -> Mapping[int, Rank]:
    """Ranks by candidate id, of those that have one. Given all candidates of one search, of which the fields NEEDED are read."""
    groups: list[list[tuple[int, int, int]]] = []
    for row in sorted(candidates, key=lambda row: (row.position, row.pk)):
        if row.rank_from is None or row.rank_to is None or row.predicted is None or row.state == CandidateState.FAILED:
            continue
        if not groups or row.rank_from == row.position + 1:
            groups.append([])
        groups[-1].append((row.pk, row.rank_from, row.rank_to))
    return {pk: rank for group in groups for pk, rank in _ranks(group)}


def _ranks(group: Sequence[tuple[int, int, int]]) -> Iterable[tuple[int, Rank]]:
    """group: (id, rank_from, rank_to) of its rows, best first."""
    span = min(low for _, low, _ in group), max(high for _, _, high in group)
    for place, (pk, low, high) in enumerate(group):
        tie: Tie = "" if len(group) == 1 else "first" if place == 0 else "last" if place == len(group) - 1 else "middle"
        yield pk, Rank(span[0], tie, len(group) - 1, low, high, (low, high) != span)
