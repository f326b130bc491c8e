"""What scorers read from the candidates' predictions, and why they cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from gpuworker.core.protocols import Arrays, CandidateView, Estimate
from gpuworker.core.scorers.consensus import voters, why_not
from gpuworker.core.signatures.outputs import FLOOR

F64 = NDArray[np.float64]
NOT_RUN = "The model has not run on your samples."


def each_alone(candidates: Sequence[CandidateView], score: Callable[[F64, Arrays], Estimate]) -> list[Estimate]:
    """score(log_probs, signature) of every candidate that ran; log_probs (n, C) of finite numbers whose exponentials sum to 1."""
    return [_alone(candidate, score) for candidate in candidates]


def _alone(candidate: CandidateView, score: Callable[[F64, Arrays], Estimate]) -> Estimate:
    if candidate.log_probs is None or not candidate.log_probs.size:
        return Estimate(None, why=NOT_RUN)
    if np.isnan(candidate.log_probs).any():
        return Estimate(None, why="The model's outputs are not numbers.")
    return score(normal(candidate.log_probs), candidate.signature)


def normal(log_probs: NDArray[np.floating], temperature: float = 1.0) -> F64:
    """(n, C) log-probabilities, divided by the temperature, normalised; impossible labels get a least probability."""
    return np.asarray(log_softmax(np.maximum(log_probs.astype(np.float64), FLOOR) / temperature, axis=1))


def calibrated(log_probs: F64, reference: Arrays) -> F64 | None:
    """The same at the temperature of the reference sample; None where its publisher gave no labels."""
    if "calibration.temperature" not in reference:
        return None
    return normal(log_probs, float(reference["calibration.temperature"][0]))


def per_label(reference: Arrays, name: str, n_labels: int) -> F64 | None:
    """(C,) counts of the reference sample; None where they are missing, of another label space, or all zero."""
    counts = np.asarray(reference.get(name, ()), dtype=np.float64)
    return counts if counts.shape == (n_labels,) and counts.sum() > 0 else None


@dataclass(frozen=True, slots=True)
class Ballots:
    """The candidates that ran, on the samples they have in common.

    ran: (M',) their places. log_probs: M' arrays (n, C). votes: (M', n) label indexes.
    """

    ran: NDArray[np.int64]
    log_probs: tuple[NDArray[np.float32], ...]
    votes: NDArray[np.int64]

    @property
    def n_labels(self) -> int:
        return int(self.log_probs[0].shape[1])

    @property
    def why(self) -> str:
        """Why these votes carry no consensus, or an empty string."""
        return why_not(voters(self.votes), self.votes.shape[1], self.n_labels)


def ballots(candidates: Sequence[CandidateView]) -> Ballots | None:
    """None where nobody ran. All log_probs need the same C (ValueError); the shortest gives the samples."""
    arrays = [(index, view.log_probs) for index, view in enumerate(candidates) if view.log_probs is not None and len(view.log_probs)]
    if not arrays:
        return None
    n, n_labels = min(len(array) for _, array in arrays), arrays[0][1].shape[1]
    if any(array.shape[1] != n_labels for _, array in arrays):
        raise ValueError("candidates of one search must share one label space")
    common = tuple(array[:n] for _, array in arrays)
    return Ballots(np.array([index for index, _ in arrays], dtype=np.int64), common, np.stack([array.argmax(1) for array in common]))


def told(count: int, found: Ballots | None, values: F64, why: str = "") -> list[Estimate]:
    """One estimate for each of `count` candidates from (M',) values of those that ran; with `why`, values are diagnostics only."""
    answers = [Estimate(None, why=NOT_RUN)] * count
    if found is not None:
        for index, value in zip(found.ran, values, strict=True):
            answers[index] = Estimate(None, why=why, diagnostic=float(value)) if why else Estimate(float(value))
    return answers
