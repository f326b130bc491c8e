"""Who may leave the race early: a candidate that has all but no chance of coming within a point of the best."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpuworker.core.ranking.board import Board, order_of
from gpuworker.core.ranking.standing import DRAWS
from gpuworker.core.scorers.intervals import wilson

LEAST_RACERS = 8  # a crowd that judges itself needs members


@dataclass(frozen=True, slots=True)
class Left:
    """A candidate that runs no further. rung: after which one, from 1; samples: on which this rests; chance: upper bound on the
    probability that it comes within one point of the best; level: the bound it fell under."""

    candidate: int
    rung: int
    samples: int
    chance: float
    level: float

    @property
    def reason(self) -> str:
        bound = f"under {100 * self.level:g} %"
        return f"Left the race after {self.samples} samples: its chance of coming within one point of the best is {bound}."


def leaving(board: Board, rung: int, level: float) -> tuple[Left, ...]:
    """Those whose chance falls under the level, worst first, as long as 8 stay. Nobody leaves a board that cannot tell."""
    places = board.standing
    if places is None or board.verdict.kind == "cannot_tell":
        return ()
    bounds = [wilson(float(chance), DRAWS)[1] for chance in places.p_close]
    found = [
        Left(int(index), rung, board.n, round(bound, 4), level) for index, bound in zip(places.ran, bounds, strict=True) if bound < level
    ]
    predicted = dict(zip(places.ran.tolist(), places.mean.tolist(), strict=True))
    found.sort(key=lambda left: (predicted[left.candidate], left.candidate))
    return tuple(found[: max(0, len(places.ran) - LEAST_RACERS)])


def without(board: Board, gone: tuple[Left, ...]) -> Board:
    """The board with the rows of those that leave marked, and their places behind those that stay."""
    if not gone or board.standing is None:
        return board
    reasons = {left.candidate: left.reason for left in gone}
    racing = len(board.standing.ran)
    stay = racing - len(gone)
    rows = []
    for row in board.rows:
        if row.index in reasons:
            row = replace(row, left=True, rank_from=stay + 1, rank_to=racing, why=f"{reasons[row.index]} {row.why}".strip())
        elif row.rank_to is not None and not row.left:
            row = replace(row, rank_from=min(row.rank_from or 1, stay), rank_to=min(row.rank_to, stay))
        rows.append(row)
    return replace(board, rows=tuple(rows), order=order_of(rows))
