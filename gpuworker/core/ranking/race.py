"""The run of a search: all candidates over growing prefixes of the samples, as a generator of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.errors import ExecutionFailed, UserError
from gpuworker.core.metrics import ACCURACY, Metric
from gpuworker.core.probes import settle
from gpuworker.core.probes.calibration import UNCALIBRATED, Calibration
from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.core.ranking.board import DEFAULT_SCORERS, Board, Row, board
from gpuworker.core.ranking.leaving import Left, leaving, without
from gpuworker.core.scorers.anchor import ready
from gpuworker.core.scorers.shift import Shift, shifts

RUNGS = (32, 128, 512)


class Predict(Protocol):
    """Log-probabilities (stop - start, C) float32 of one candidate on samples [start, stop). Raises UserError when the model cannot."""

    def __call__(self, candidate: int, start: int, stop: int, /) -> NDArray[np.float32]: ...


class Execute(Protocol):
    """Bring candidates to sample `stop`, in any order. wanted: candidate > its first sample without a prediction.

    It may begin when it is called: what boards need beside predictions is worked out before the first item is asked for. Gives each
    candidate once: log-probabilities (stop - first, C) float32, or why the model cannot.
    """

    def __call__(self, wanted: Mapping[int, int], stop: int, /) -> Iterator[tuple[int, NDArray[np.float32] | UserError]]: ...


def one_by_one(predict: Predict) -> Execute:
    """Candidates one after the other. A UserError ends one candidate, any other exception the run."""

    def execute(wanted: Mapping[int, int], stop: int) -> Iterator[tuple[int, NDArray[np.float32] | UserError]]:
        for index, start in wanted.items():
            try:
                rows = predict(index, start, stop)
            except UserError as error:
                yield index, error
            else:
                yield index, rows

    return execute


@dataclass(frozen=True, slots=True)
class Planned:
    """rungs: sample counts after which the board is scored. rows_known, rows_to_run: predictions at hand and still asked for, if all
    candidates run to the end."""

    rungs: tuple[int, ...]
    candidates: int
    rows_known: int
    rows_to_run: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A candidate now has predictions for the first `samples` samples."""

    candidate: int
    samples: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A candidate could not run and takes no further part."""

    candidate: int
    error: UserError


@dataclass(frozen=True, slots=True)
class Scored:
    """The board after a rung; `rung` counts from 1. Rows that leave the race with it are marked."""

    rung: int
    board: Board


@dataclass(frozen=True, slots=True)
class Dropped:
    """A candidate left the race after the rung whose board came just before."""

    left: Left


@dataclass(frozen=True, slots=True)
class Finished:
    """The last board."""

    board: Board


Event = Planned | Measured | Failed | Scored | Dropped | Finished


def rungs(n: int) -> tuple[int, ...]:
    """Growing prefixes that end with all n samples."""
    return (*(rung for rung in RUNGS if rung < n), n)


def rank(
    target: TargetView,
    candidates: Sequence[CandidateView],
    execute: Execute,
    *,
    failed: Sequence[int] = (),
    scorers: Sequence[str] = DEFAULT_SCORERS,
    calibration: Calibration = UNCALIBRATED,
    metric: Metric = ACCURACY,
    drop: float | None = None,
    left: Mapping[int, Row] = MappingProxyType({}),
    decided: int = 0,
    short: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Yield what happens, in order; the caller stops by closing the generator. execute: asked once for each rung.

    calibration, metric: as for `board`. drop: after every rung but the last, candidates leave whose upper bound on the probability of
    coming within one point of the best is under this level (`specs.DROP_LEVEL`); None: all run to the end.

    To resume, give each candidate the log_probs it already has (its first samples) and the indexes that failed: known rows and failed
    candidates are not asked for again, rungs that need no new row are passed over, and the last board equals an undisturbed run's.
    Where candidates may leave, also `decided`, the rung of the last `Scored` that was kept, and `left`, the marked rows of its board;
    whoever keeps a `Scored` keeps both at once, and can do without the `Dropped` that follow.

    short: asked before every rung but the last whether all that is left takes no longer than scoring it would; such a rung is passed
    over, and nobody leaves with it.
    """
    target = settle(target)
    views = list(candidates)
    out, gone = set(failed), dict(left)
    for index in out:
        views[index] = replace(views[index], log_probs=None)
    measured: list[Shift | None] = []

    def prepare() -> None:
        if not measured:
            ready(target, [views[index] for index in racing])  # as the boards will see them
            measured.extend(shifts(target, views))

    def scored(stop: int) -> Board:
        prepare()
        return board(target, _up_to(views, stop), scorers, measured, calibration=calibration, metric=metric, left=gone)

    racing = [index for index in range(len(views)) if index not in out and index not in gone]
    known = sum(_samples(view, target.n) for view in views)
    yield Planned(rungs(target.n), len(views), known, sum(target.n - _samples(views[index], target.n) for index in racing))
    for number, stop in enumerate(rungs(target.n), start=1):
        if stop < target.n and short():
            continue
        wanted = {index: _samples(views[index], target.n) for index in racing if index not in out and index not in gone}
        wanted = {index: start for index, start in wanted.items() if start < stop}
        found_rows = execute(wanted, stop) if wanted else ()
        prepare()
        for index, rows in found_rows:
            try:
                if isinstance(rows, UserError):
                    raise rows
                views[index] = _extended(views[index], rows, stop - wanted[index])
            except UserError as error:
                out.add(index)
                # Its rows go too: kept, they would hold everyone else back to the samples it has seen.
                views[index] = replace(views[index], log_probs=None)
                yield Failed(index, error)
            else:
                yield Measured(index, stop)
        undecided = drop is not None and number > decided
        if stop < target.n and (wanted or undecided):
            found = scored(stop)
            leave = leaving(found, number, drop) if drop is not None and undecided else ()
            found = without(found, leave)
            gone |= {gone_now.candidate: found.rows[gone_now.candidate] for gone_now in leave}
            yield Scored(number, found)
            for gone_now in leave:
                yield Dropped(gone_now)
    last = scored(target.n)
    yield Scored(len(rungs(target.n)), last)
    yield Finished(last)


def _samples(view: CandidateView, n: int) -> int:
    return 0 if view.log_probs is None else min(len(view.log_probs), n)


def _up_to(views: Sequence[CandidateView], stop: int) -> list[CandidateView]:
    return [replace(view, log_probs=None if view.log_probs is None else view.log_probs[:stop]) for view in views]


def _extended(view: CandidateView, rows: NDArray[np.float32], expected: int) -> CandidateView:
    if rows.ndim != 2 or len(rows) != expected or (view.log_probs is not None and rows.shape[1] != view.log_probs.shape[1]):
        raise ExecutionFailed(
            "The model gave outputs of an unexpected shape.",
            detail=f"Expected {expected} rows of log-probabilities, found an array {rows.shape}.",
            fix="Check the label space and the output of the model, then publish a new version.",
        )
    if np.isnan(rows).any() or np.isposinf(rows).any():
        raise ExecutionFailed(
            "The model gave NaN or infinity on your samples.",
            detail=f"In {int((~(rows < np.inf)).any(1).sum())} of {len(rows)} rows.",
            fix="Check that the samples have the range the model expects.",
        )
    joined = rows.astype(np.float32) if view.log_probs is None else np.concatenate([view.log_probs, rows.astype(np.float32)])
    return replace(view, log_probs=joined)
