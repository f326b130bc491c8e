"""What changed between a search and the one it repeats."""

from __future__ import annotations

from dataclasses import dataclass

from search.models import Candidate, Search
from search.ranks import Rank, shown_ranks
from search.rows import board_candidates


@dataclass(frozen=True, slots=True)
class Moved:
    """A model on both boards. before, after: predicted accuracy in [0, 1] or None. Ranks as shown, None where none was known."""

    title: str
    before: float | None
    after: float | None
    rank_before: int | None
    rank_after: int | None
    new_version: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """added: candidates of the new board whose model the old one lacked, with their rank. gone: titles of those it had and the
    new one lacks."""

    earlier: Search
    added: tuple[tuple[Candidate, Rank | None], ...]
    gone: tuple[str, ...]
    moved: tuple[Moved, ...]

    @property
    def same(self) -> bool:
        return not (self.added or self.gone or self.moved)


def difference(search: Search) -> Difference | None:
    """Against `rerun_of`; None for a search that repeats none. Two queries."""
    if search.rerun_of is None:
        return None
    new, old = list(board_candidates(search)), list(board_candidates(search.rerun_of))
    before = {row.version.model_id: row for row in old}
    now = {row.version.model_id: row for row in new}
    old_ranks, new_ranks = shown_ranks(old), shown_ranks(new)
    pairs = [(before[key], row) for key, row in now.items() if key in before and row.samples_done]
    moved = [_moved(was, row, old_ranks.get(was.pk), new_ranks.get(row.pk)) for was, row in pairs]
    return Difference(
        search.rerun_of,
        tuple((row, new_ranks.get(row.pk)) for key, row in now.items() if key not in before),
        tuple(row.version.model.title for key, row in before.items() if key not in now),
        tuple(row for row in moved if _changed(row)),
    )


def _moved(was: Candidate, row: Candidate, before: Rank | None, after: Rank | None) -> Moved:
    ranks = before.rank if before else None, after.rank if after else None
    return Moved(row.version.model.title, was.predicted, row.predicted, *ranks, was.version_id != row.version_id)


def _changed(found: Moved) -> bool:
    drift = (found.before is None) != (found.after is None) or abs((found.before or 0.0) - (found.after or 0.0)) >= 0.0005
    return found.new_version or found.rank_before != found.rank_after or drift
