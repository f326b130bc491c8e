"""Who may leave the race early: candidates that have all but no chance of coming within a point of the best, each and all together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gpuworker.core.ranking.board import Board, order_of
from gpuworker.core.ranking.standing import DRAWS
from gpuworker.core.scorers.intervals import wilson

LEAST_RACERS = 8  # a crowd that judges itself needs members
TOGETHER = 0.5  # share of the level that the chances of all who leave with one rung may add up to: many small ones make a large one


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
    """Those whose chance falls under the level, worst first, as long as 8 stay and the best is with those that stay: the chance that it
    is among the others must fall under half the level. Nobody leaves a board that cannot tell."""
    places = board.standing
    if places is None or board.verdict.kind == "cannot_tell":
        return ()
    bounds = [wilson(float(chance), DRAWS)[1] for chance in places.p_close]
    hopeless = sorted(
        (place for place, bound in enumerate(bounds) if bound < level), key=lambda place: (places.mean[place], places.ran[place])
    )
    together = np.logical_or.accumulate(places.won[:, hopeless], axis=1).mean(0)
    safe = sum(wilson(float(chance), DRAWS)[1] < TOGETHER * level for chance in together)
    gone = hopeless[: max(0, min(safe, len(places.ran) - LEAST_RACERS))]
    return tuple(Left(int(places.ran[place]), rung, board.n, round(bounds[place], 4), level) for place in gone)


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
