"""Ranking: the prior order, the board with its verdict, and the run of a search. Pure: arrays in, frozen values out."""

from __future__ import annotations

from gpuworker.core.ranking.board import DEFAULT_SCORERS, Board, Row, board
from gpuworker.core.ranking.leaving import Left
from gpuworker.core.ranking.prior import PriorScore, prior
from gpuworker.core.ranking.race import (
    Dropped,
    Event,
    Execute,
    Failed,
    Finished,
    Measured,
    Planned,
    Predict,
    Scored,
    one_by_one,
    rank,
    rungs,
)
from gpuworker.core.ranking.verdict import Verdict

__all__ = [
    "DEFAULT_SCORERS",
    "Board",
    "Dropped",
    "Event",
    "Execute",
    "Failed",
    "Finished",
    "Left",
    "Measured",
    "Planned",
    "Predict",
    "PriorScore",
    "Row",
    "Scored",
    "Verdict",
    "board",
    "one_by_one",
    "prior",
    "rank",
    "rungs",
]
