"""Accuracy expected from the consensus of all candidates (Dawid and Skene, Applied Statistics 1979)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import NOT_RUN, ballots, told
from gpuworker.core.scorers.atc import estimates as atc_estimates
from gpuworker.core.scorers.consensus import Consensus, Voters, consensus, voters, why_not
from gpuworker.core.scorers.intervals import LEVEL, Z
from gpuworker.core.scorers.shift import Shift, shifts

# Standard deviation of what the consensus itself gets wrong about one model. SEEN: set on simulated crowds with shared errors.
# UNSEEN: mean absolute error .101 measured where no candidate had seen the target's domain, times 1.25 for a normal
# error (docs/adr/0001-consensus-as-the-default-order.md).
ERROR_SEEN = 0.05
ERROR_UNSEEN = 0.125
FULL_SHIFT = 0.5
PSEUDO_SAMPLES = Z * Z


@dataclass(frozen=True, slots=True)
class Joint:
    """One estimate per candidate, and for the M' candidates that ran their means and (M', M') covariance for paired comparisons."""

    estimates: list[Estimate]
    ran: NDArray[np.int64]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    joint_right: NDArray[np.float64]
    agreement: NDArray[np.float64]
    why: str = ""


def dawid_skene(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1]: expected accuracy on the samples all candidates have run, from hard votes of all candidates.

    Cannot tell below 3 differently answering models, 30 samples, or agreement beyond chance. 90 % interval from the samples,
    from leaving out voters, from the distance to majority vote and ATC, and from the measured error of a consensus.
    """
    measured = shifts(target, candidates)
    return joint(candidates, measured, atc_estimates(candidates, measured)).estimates


def joint(candidates: Sequence[CandidateView], measured: Sequence[Shift | None], confident: Sequence[Estimate]) -> Joint:
    """The same with shifts and ATC estimates at hand. All log_probs need the same C; the shortest gives the samples."""
    asked = ballots(candidates)
    if asked is None:
        return _nothing([Estimate(None, why=NOT_RUN)] * len(candidates), "No candidate has run on your samples.")
    votes, n_labels, ran = asked.votes, asked.n_labels, asked.ran
    n = votes.shape[1]
    crowd = voters(votes)
    why = why_not(crowd, n, n_labels)
    # Where nobody may vote the raw score still needs a crowd: all different answers, one vote each.
    everyone = np.unique(votes, axis=0)
    found = consensus(votes, crowd if len(crowd.votes) else Voters(everyone, np.ones(len(everyone))), n_labels)
    answers = told(len(candidates), asked, found.accuracy, why)
    if why:
        return _nothing(answers, why)
    mean = found.accuracy
    covariance = _covariance(found, n, [measured[index] for index in ran])
    # Where ATC can tell, its distance widens the model's own interval; it orders models badly, so comparisons leave it out.
    opinions = [confident[index].value for index in ran]
    to_atc = np.array([0.0 if opinion is None else (value - opinion) / 2 for value, opinion in zip(mean, opinions, strict=True)])
    half = Z * np.sqrt(np.diag(covariance) + to_atc**2)
    centre = (n * mean + PSEUDO_SAMPLES / 2) / (n + PSEUDO_SAMPLES)
    low, high = np.clip(np.minimum(mean, centre - half), 0, 1), np.clip(np.maximum(mean, centre + half), 0, 1)
    for place, index in enumerate(ran):
        answers[index] = Estimate(float(mean[place]), float(low[place]), float(high[place]), LEVEL)
    return Joint(answers, ran, mean, covariance, found.joint, found.agreement)


def _covariance(found: Consensus, n: int, measured: Sequence[Shift | None]) -> NDArray[np.float64]:
    """(M, M) covariance of predicted minus true accuracy; models that answer alike err alike."""
    # Sampling: second moments of "right" over samples with z^2 invented samples of accuracy 1/2, as Agresti and Coull do for one share.
    weight = n + PSEUDO_SAMPLES
    second = (n * found.joint + PSEUDO_SAMPLES * (0.25 + 0.25 * found.agreement)) / weight
    first = (n * found.accuracy + PSEUDO_SAMPLES / 2) / weight
    sampling = (second - np.outer(first, first)) / weight
    to_majority = found.accuracy - found.majority
    known = [shift.excess for shift in measured if shift is not None]
    reach = min(1.0, min(known) / FULL_SHIFT) if known else 1.0
    error = ERROR_SEEN + (ERROR_UNSEEN - ERROR_SEEN) * reach
    return np.asarray(sampling + found.voter_error + np.outer(to_majority, to_majority) + error**2 * found.agreement)


def _nothing(answers: list[Estimate], why: str) -> Joint:
    none = np.zeros(0)
    return Joint(answers, np.zeros(0, dtype=np.int64), none, none.reshape(0, 0), none.reshape(0, 0), none.reshape(0, 0), why)
