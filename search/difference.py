"""What changed between a search and the one it repeats."""

from __future__ import annotations

from dataclasses import dataclass

from search.models import Candidate, Search
from search.rows import board_candidates


@dataclass(frozen=True, slots=True)
class Moved:
    """A model on both boards. before, after: predicted accuracy in [0, 1] or None; ranks None where none was known."""

    title: str
    before: float | None
    after: float | None
    rank_before: int | None
    rank_after: int | None
    new_version: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """added: candidates of the new board whose model the old one lacked. gone: titles of those it had and the new one lacks."""

    earlier: Search
    added: tuple[Candidate, ...]
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
    moved = [
        Moved(row.version.model.title, was.predicted, row.predicted, was.rank_from, row.rank_from, was.version_id != row.version_id)
        for key, row in now.items()
        if (was := before.get(key)) is not None and _changed(was, row)
    ]
    return Difference(
        search.rerun_of,
        tuple(row for key, row in now.items() if key not in before),
        tuple(row.version.model.title for key, row in before.items() if key not in now),
        tuple(moved),
    )


def _changed(was: Candidate, row: Candidate) -> bool:
    if row.samples_done == 0:
        return False
    drift = (was.predicted is None) != (row.predicted is None) or abs((was.predicted or 0.0) - (row.predicted or 0.0)) >= 0.0005
    return was.version_id != row.version_id or was.rank_from != row.rank_from or drift
