"""The board: every candidate's predicted accuracy, its place with honest ties, and one sentence above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.metrics import ACCURACY, Metric
from gpuworker.core.probes import Vicinity, settle
from gpuworker.core.probes.calibration import UNCALIBRATED, Calibration
from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.ranking.grounds import doubt
from gpuworker.core.ranking.standing import Standing, standing
from gpuworker.core.ranking.verdict import Facts, Verdict, verdict
from gpuworker.core.scorers import FUNCTIONS
from gpuworker.core.scorers.anchor import Judged, judge, why_not
from gpuworker.core.scorers.answers import ballots
from gpuworker.core.scorers.atc import MAX_SHIFT
from gpuworker.core.scorers.atc import estimates as atc_estimates
from gpuworker.core.scorers.dawid_skene import Joint, joint
from gpuworker.core.scorers.intervals import LEVEL, Z
from gpuworker.core.scorers.shift import Shift, shifts

DEFAULT_SCORERS = ("anchor", "a_only", "dawid_skene", "atc", "source_accuracy")
METHODS = ("anchor", "dawid_skene", "atc")  # whose word stands on the board, the first that can tell; others are diagnoses
Grade = Literal["prior", "predicted"]


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate. predicted, low, high: quality in [0, 1] at `level`, or None = cannot tell, and `why` says the cause.

    method: key of the scorer behind the prediction, "" for none. samples: how many it rests on. rank_from, rank_to: the places it may
    hold, None when places are not known. p_best: probability of being the best of those that ran. left: it was taken out of the
    race after these samples. A `why` beside a prediction is a warning.
    """

    index: int
    estimates: Mapping[str, Estimate]
    grade: Grade
    samples: int
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = LEVEL
    method: str = ""
    rank_from: int | None = None
    rank_to: int | None = None
    p_best: float | None = None
    why: str = ""
    left: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """n: samples all candidates in the race have in common. rows: in the order given. order: row indexes, best first, ties by
    prediction. metric: what the predictions speak of. standing: places and paired differences behind the rows, None without any."""

    n: int
    rows: tuple[Row, ...]
    order: tuple[int, ...]
    verdict: Verdict
    metric: Metric = ACCURACY
    judged: Judged | None = field(default=None, compare=False, repr=False)
    standing: Standing | None = field(default=None, compare=False, repr=False)

    @property
    def left(self) -> tuple[int, ...]:
        """Indexes of the candidates that were taken out of the race, with this board or before."""
        return tuple(row.index for row in self.rows if row.left)


def board(
    target: TargetView,
    candidates: Sequence[CandidateView],
    scorers: Sequence[str] = DEFAULT_SCORERS,
    measured: Sequence[Shift | None] | None = None,
    *,
    calibration: Calibration = UNCALIBRATED,
    metric: Metric = ACCURACY,
    left: Mapping[int, Row] = MappingProxyType({}),
) -> Board:
    """Score the candidates that have predictions on their common first samples; the others stay at grade prior.

    scorers: keys of `specs.SCORERS`. The order comes from anchor where there are labelled probes, else from dawid_skene, or where that
    cannot tell, from ATC intervals that do not overlap. measured: `shifts(target, candidates)` where the caller has it already.
    calibration: of this probe set and metric. metric: what to predict; without probes the predictions are accuracies and
    `Board.metric` says so. left: last rows of candidates that were taken out of the race; they keep them, behind the others.

    Raises KeyError for an unknown scorer, ValueError for candidates with different numbers of labels.
    """
    target = settle(target)
    measured = shifts(target, candidates) if measured is None else measured
    views = _common_prefix([replace(view, log_probs=None) if index in left else view for index, view in enumerate(candidates)])
    ran = [index for index, view in enumerate(views) if view.log_probs is not None]
    n = 0 if not ran else min(len(view.log_probs) for view in views if view.log_probs is not None)
    judged = _judged(target.vicinity, views, metric) if "anchor" in scorers else None
    confident = atc_estimates(views, measured) if {"atc", "dawid_skene"} & set(scorers) else []
    together = joint(views, measured, confident) if "dawid_skene" in scorers else None
    told: dict[str, list[Estimate]] = {}
    for key in scorers:
        if key == "anchor" and judged is not None:
            told[key] = judged.estimates(len(views), calibration)
        elif key == "dawid_skene" and together is not None:
            told[key] = together.estimates
        else:
            told[key] = confident if key == "atc" else FUNCTIONS[key](target, views)
    usual = METHODS if judged is not None else METHODS[1:]
    rows = [left.get(index) or _row(index, views[index], n, {key: told[key][index] for key in told}, usual) for index in range(len(views))]
    places = _places(judged, calibration, together, rows, ran)
    if places is not None:
        rows = [replace(row, rank_from=p[0], rank_to=p[1], p_best=p[2]) if (p := places.of(row.index)) else row for row in rows]
    far = [shift for shift in measured if shift is not None]
    facts = Facts(
        n=n,
        candidates=len(rows) - len(left),
        ran=tuple(ran),
        predicted={row.index: (row.predicted, row.low or 0.0, row.high or 1.0) for row in rows if row.predicted is not None},
        identical=_identical(views, ran),
        unlike_all=judged is None and bool(far) and min(shift.excess for shift in far) > MAX_SHIFT,
        why=_common_cause(together, rows, ran),
        doubt=None if judged is None or target.vicinity is None else doubt(target.vicinity, judged, calibration),
        left=len(left),
        metric=metric if judged is not None else ACCURACY,
    )
    return Board(n, tuple(rows), order_of(rows), verdict(facts, places), facts.metric, judged, places)


def _judged(vicinity: Vicinity | None, views: Sequence[CandidateView], metric: Metric) -> Judged | None:
    found = ballots(views)
    return None if vicinity is None or found is None or why_not(vicinity) else judge(vicinity, views, found, metric)


def _common_prefix(candidates: Sequence[CandidateView]) -> list[CandidateView]:
    lengths = [len(view.log_probs) for view in candidates if view.log_probs is not None and len(view.log_probs)]
    n = min(lengths, default=0)
    return [
        replace(view, log_probs=view.log_probs[:n] if view.log_probs is not None and len(view.log_probs) else None) for view in candidates
    ]


def _row(index: int, view: CandidateView, n: int, estimates: Mapping[str, Estimate], methods: Sequence[str]) -> Row:
    if view.log_probs is None:
        return Row(index, estimates, "prior", 0, why="The model has not run on your samples.")
    warning = "Gives one label to every sample." if n > 1 and (view.log_probs.argmax(1) == view.log_probs[0].argmax()).all() else ""
    # The first method that can tell speaks, whatever order the keys were given in.
    words = [(key, estimates[key]) for key in methods if key in estimates]
    for key, estimate in words:
        if estimate.value is not None:
            why = f"{warning} {estimate.why}".strip()
            return Row(index, estimates, "predicted", n, estimate.value, estimate.low, estimate.high, estimate.level, key, why=why)
    why = next((e.why for _, e in words if e.why), "No scorer that predicts accuracy was asked for.")
    return Row(index, estimates, "predicted", n, why=f"{why} {warning}".strip())


def _places(
    judged: Judged | None, calibration: Calibration, together: Joint | None, rows: Sequence[Row], ran: Sequence[int]
) -> Standing | None:
    """Places among the candidates that ran; None where one of them has no prediction, since it could be the best."""
    if judged is not None:
        return standing(
            judged.ran, judged.predicted, judged.covariance(calibration), judged.pairs.right, judged.pairs.agreement, calibration.tail
        )
    if together is not None and len(together.ran):
        return standing(together.ran, together.mean, together.covariance, together.joint_right, together.agreement)
    known = [rows[index] for index in ran if rows[index].predicted is not None and rows[index].low is not None]
    if len(ran) < 2 or len(known) < len(ran):
        return None
    mean = np.array([row.predicted for row in known], dtype=np.float64)
    # One model's ATC says nothing about another's: independent, each as wide as its longer side.
    half = np.array([max((row.high or 1.0) - (row.predicted or 0.0), (row.predicted or 0.0) - (row.low or 0.0)) for row in known])
    return standing(np.array(ran, dtype=np.int64), mean, np.diag((half / Z) ** 2), None, None)


def _identical(views: Sequence[CandidateView], ran: Sequence[int]) -> bool:
    votes: list[NDArray[np.int64]] = [view.log_probs.argmax(1) for index in ran if (view := views[index]).log_probs is not None]
    return len(votes) > 1 and all(bool((row == votes[0]).all()) for row in votes)


def _common_cause(together: Joint | None, rows: Sequence[Row], ran: Sequence[int]) -> str:
    if together is not None and together.why:
        return together.why
    return next((rows[index].why for index in ran if rows[index].predicted is None), "")


def order_of(rows: Sequence[Row]) -> tuple[int, ...]:
    """Row indexes, best first: those in the race before those that left it, then by place, prediction and self-reported accuracy."""

    def place(row: Row) -> tuple[bool, float, float, float]:
        reported = row.estimates.get("source_accuracy")
        return (
            row.left,
            row.rank_from or np.inf,
            -(row.predicted if row.predicted is not None else -1.0),
            -(reported.value or 0.0) if reported else 0.0,
        )

    return tuple(row.index for row in sorted(rows, key=place))
