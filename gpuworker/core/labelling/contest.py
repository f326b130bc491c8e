"""What is known before the first label: the models' answers, and what several experts expect of each model.

Letters: M models, n samples, C labels, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Votes = NDArray[np.int16] | NDArray[np.int64]
F64 = NDArray[np.float64]

EXPERTS: Mapping[str, float] = MappingProxyType({"anchor": 8.0, "a_only": 1.0, "dawid_skene": 1.0, "majority_vote": 1.0, "flat": 0.5})
"""Who is heard, and with what weight before the first label. `flat` expects the same of every model."""

WORTH, WORTH_WITHOUT_PROBES = 25.0, 12.0  # labels that the experts' word is worth, with ANCHOR and without
OWN = 0.05  # share of a model's error that it shares with no other
LEAST = 0.02  # no expert is surer than this
DOUBT = 0.1  # share of the label probabilities that goes to every label alike
MOST_VOTES = 8.0  # the crowd never counts more than so many independent voters
ALIKE = 8  # power of the agreement with which two models count as one voter
SHARPNESS = 4  # power of the share of voters that answer two samples alike
ENOUGH = 250  # samples whose mean likeness to each other stands for that of all


@dataclass(frozen=True, slots=True)
class Label:
    """A person's word on a sample. weight: how much rarer its draw was than an even one, 1 / (open samples * its chance)."""

    item: int
    label: int
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"the weight of a label must be a positive number, found {self.weight}")


@dataclass(frozen=True, eq=False)
class Contest:
    """votes: (M, n) label indexes. expected: (E, M) accuracy in (0, 1) that each expert expects; weights: (E,) that they begin with.

    worth: labels that this is worth. right: (M, n) chance of every answer to be right. agreement: (M, M) share of equal answers.
    noise: (M, M) covariance over the samples of being right, less its chance. voters: (M,) how many independent voters each model is.
    """

    votes: Votes
    expected: F64
    weights: F64
    worth: float
    right: F64
    agreement: F64
    noise: F64
    voters: F64

    @property
    def models(self) -> int:
        return int(self.votes.shape[0])

    @property
    def samples(self) -> int:
        return int(self.votes.shape[1])

    @cached_property
    def likeness(self) -> float:
        """Mean of `answered_alike` over all pairs of samples."""
        some = np.arange(0, self.samples, -(-self.samples // ENOUGH))
        return float(self.answered_alike(some)[some].mean())

    def answered_alike(self, items: NDArray[np.int64]) -> F64:
        """(n, k): share of the voters that give a sample and each of `items` one label, to the power of SHARPNESS."""
        share = np.zeros((self.samples, len(items)))
        for voice, row in zip(self.voters / self.voters.sum(), self.votes, strict=True):
            share += voice * (row[:, None] == row[items])
        return np.asarray(share**SHARPNESS)


def contest(votes: Votes, experts: Mapping[str, F64], n_labels: int) -> Contest:
    """votes: (M, n) in [0, n_labels). experts: some of EXPERTS with (M,) expected accuracies, NaN where one cannot tell.

    `majority_vote` and `flat` are made here where they are not given. Raises ValueError for other names or shapes, or without an answer.
    """
    if votes.ndim != 2 or not votes.size or n_labels < 1 or votes.min() < 0 or votes.max() >= n_labels:
        raise ValueError("answers must be a table of models and samples with numbers of labels in it")
    unknown = sorted(set(experts) - set(EXPERTS))
    if unknown or any(values.shape != (len(votes),) for values in experts.values()):
        raise ValueError(f"experts must be some of {', '.join(EXPERTS)} with one number for each model; found {', '.join(unknown)}")
    counts = np.stack([(votes == row).sum(0) for row in votes])
    heard = {"majority_vote": _agreement_with_most(votes), **experts}
    told = {name: _filled(values) for name, values in heard.items() if np.isfinite(values).any() and name != "flat"}
    told["flat"] = np.full(len(votes), np.mean([values.mean() for values in told.values()]))
    names = [name for name in EXPERTS if name in told]
    expected = np.clip(np.stack([told[name] for name in names]), LEAST, 1 - LEAST)
    weights = np.array([EXPERTS[name] for name in names])
    weights /= weights.sum()
    agreement = np.stack([(votes == row).mean(1) for row in votes])
    worth = WORTH if "anchor" in told else WORTH_WITHOUT_PROBES
    voters = 1 / (agreement**ALIKE).sum(1)
    right = _rightness(votes, weights @ expected, voters, counts, n_labels)
    noise = np.stack([(right * (votes == row)).mean(1) for row in votes]) - right @ right.T / votes.shape[1]
    return Contest(votes, expected, weights, worth, right, agreement, (noise + noise.T) / 2, voters)


def _filled(values: F64) -> F64:
    """A model on which the expert has no word gets the mean of the others."""
    return np.where(np.isfinite(values), values, np.nanmean(np.where(np.isfinite(values), values, np.nan)))


def _agreement_with_most(votes: Votes) -> F64:
    """(M,) share of samples on which each model gives the label given most, copies counted once; tied labels share the credit."""
    different = np.unique(votes, axis=0)
    counts = np.stack([(different == row).sum(0) for row in votes])
    top, most = counts == counts.max(0), counts.max(0)
    # As many different models stand behind each of k tied labels, so the voters among them are k times the greatest count.
    ties = np.stack([(different == row).sum(0) for row in different])
    return np.asarray((top * most / (ties == most).sum(0)).mean(1))


def _rightness(votes: Votes, accuracy: F64, voters: F64, counts: NDArray[np.int64], n_labels: int) -> F64:
    """(M, n): chance that each answer is right when every model votes with the log odds of its accuracy, copies count once and the
    whole crowd counts MOST_VOTES at most. Labels that nobody gives keep a share."""
    odds = np.maximum(0.0, np.log(np.maximum(accuracy * (n_labels - 1), 1e-9) / (1 - accuracy)))
    voice = voters * odds * min(1.0, MOST_VOTES / voters.sum())
    support = np.stack([voice @ (votes == row) for row in votes])
    support -= (highest := support.max(0))
    given = np.exp(support)
    silent = n_labels - (1 / counts).sum(0)
    total = (given / counts).sum(0) + silent * np.exp(-highest)
    return np.asarray((1 - DOUBT) * given / total + DOUBT / n_labels)
