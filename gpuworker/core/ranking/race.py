"""The run of a search: all candidates over growing prefixes of the samples, as a generator of events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.errors import ExecutionFailed, UserError
from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.core.ranking.board import DEFAULT_SCORERS, Board, board
from gpuworker.core.scorers.shift import shifts

RUNGS = (32, 128, 512)


class Predict(Protocol):
    """Log-probabilities (stop - start, C) float32 of one candidate on samples [start, stop). Raises UserError when the model cannot."""

    def __call__(self, candidate: int, start: int, stop: int, /) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Planned:
    """rungs: sample counts after which the board is scored. rows_known, rows_to_run: predictions at hand and still asked for."""

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
    """The board after a rung; `rung` counts from 1."""

    rung: int
    board: Board


@dataclass(frozen=True, slots=True)
class Finished:
    """The last board."""

    board: Board


Event = Planned | Measured | Failed | Scored | Finished


def rungs(n: int) -> tuple[int, ...]:
    """Growing prefixes that end with all n samples."""
    return (*(rung for rung in RUNGS if rung < n), n)


def rank(
    target: TargetView,
    candidates: Sequence[CandidateView],
    predict: Predict,
    *,
    failed: Sequence[int] = (),
    scorers: Sequence[str] = DEFAULT_SCORERS,
) -> Iterator[Event]:
    """Yield what happens, in order; the caller stops by closing the generator.

    To resume, give each candidate the log_probs it already has (its first samples) and the indexes that failed: known rows and failed
    candidates are not asked for again, rungs that need no new row are passed over, and the last board equals an undisturbed run's.
    A UserError from `predict` ends one candidate, any other exception the run.
    """
    views = list(candidates)
    out = set(failed)
    for index in out:
        views[index] = replace(views[index], log_probs=None)
    measured = shifts(target, views)
    running = len(views) - len(out)
    known = sum(_samples(view, target.n) for view in views)
    yield Planned(rungs(target.n), len(views), known, running * target.n - known)
    for number, stop in enumerate(rungs(target.n), start=1):
        asked = False
        for index in range(len(views)):
            start = _samples(views[index], target.n)
            if index in out or start >= stop:
                continue
            asked = True
            try:
                views[index] = _extended(views[index], predict(index, start, stop), stop - start)
            except UserError as error:
                out.add(index)
                # Its rows go too: kept, they would hold everyone else back to the samples it has seen.
                views[index] = replace(views[index], log_probs=None)
                yield Failed(index, error)
            else:
                yield Measured(index, stop)
        if asked and stop < target.n:
            yield Scored(number, board(target, _up_to(views, stop), scorers, measured))
    last = board(target, _up_to(views, target.n), scorers, measured)
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
