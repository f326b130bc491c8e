"""The consensus of many models' answers: hard votes, duplicate weights, Dawid-Skene, and what is uncertain about it.

Letters: M candidates, V voters, n samples, C labels. Everything here is deterministic; the order of candidates or samples
does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

Votes = NDArray[np.int64]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

DIAGONAL, ELSEWHERE = 0.6, 0.1  # Dirichlet pseudo-counts of a confusion row: a vote is a little more likely right than not
CLASS_PRIOR = 1.0
ITERATIONS = 50
TOLERANCE = 1e-4
MIN_SAMPLES = 30
MIN_VOTERS = 3
MIN_KAPPA = 0.1


@dataclass(frozen=True, slots=True)
class Voters:
    """votes: (V, n) different answer vectors; weights: (V,) votes each of them counts for."""

    votes: Votes
    weights: F64


@dataclass(frozen=True, slots=True)
class Consensus:
    """posterior: (n, C); accuracy: (M,) expected accuracy of every candidate under it; majority: (M,) agreement with the majority vote.

    joint: (M, M) expected share of samples that two candidates both get right; agreement: (M, M) share they answer alike.
    voter_error: (M, M) covariance of the accuracies over leaving out one voter at a time.
    """

    posterior: F64
    accuracy: F64
    majority: F64
    joint: F64
    agreement: F64
    voter_error: F64


def voters(votes: Votes) -> Voters:
    """(M, n) -> the different answer vectors; constant ones do not vote.

    A model that gives one label to everything says nothing about a sample. k equal vectors count 1 + (k - 1) a^n votes, a being
    their agreement with the nearest other voter and a^n how likely an unrelated model of that agreement would equal them on all n
    samples: copies count once, models that are alike because the samples are easy keep their votes.
    """
    varied = votes[(votes != votes[:, :1]).any(1)]
    distinct, counts = np.unique(varied, axis=0, return_counts=True)
    if len(distinct) < 2:
        return Voters(distinct, np.ones(len(distinct)))
    alike = np.stack([(distinct == row).mean(1) for row in distinct])
    np.fill_diagonal(alike, 0.0)
    return Voters(distinct, 1 + (counts - 1) * alike.max(1) ** votes.shape[1])


def kappa(votes: Votes, n_labels: int) -> float:
    """Fleiss' kappa of (V, n) votes: agreement beyond chance, 0 for unrelated voters, 1 for equal ones. V >= 2."""
    share = _one_hot(votes, n_labels).mean(0)
    v = len(votes)
    agreement = float(((share**2).sum(1) * v - 1).mean() / (v - 1))
    chance = float((share.mean(0) ** 2).sum())
    return (agreement - chance) / (1 - chance) if chance < 1 else 0.0


def why_not(crowd: Voters, n: int, n_labels: int) -> str:
    """Why these voters carry no consensus on n samples, or an empty string."""
    count = len(crowd.votes)
    if n < MIN_SAMPLES:
        return f"Only {n} samples have been run; an estimate needs at least {MIN_SAMPLES}."
    if n_labels < 2:
        return "There is only one label, so every model answers alike."
    if count < MIN_VOTERS:
        return (
            f"A consensus needs at least {MIN_VOTERS} models that answer differently; here there {'is' if count == 1 else 'are'} {count}."
        )
    noise = 1 / np.sqrt(n * count * (count - 1) / 2)
    if kappa(crowd.votes, n_labels) < MIN_KAPPA + noise:
        return "The models hardly agree more than by chance, so their consensus says nothing."
    return ""


def em(crowd: Voters, n_labels: int, iterations: int = ITERATIONS) -> tuple[F64, F64]:
    """Dawid-Skene by expectation-maximisation -> posterior (n, C), log confusion (V, C true, C answered).

    Starts from the weighted vote shares; maximum a posteriori with Dirichlet rows (Applied Statistics 1979).
    """
    one_hot = _one_hot(crowd.votes, n_labels)
    v, n, c = one_hot.shape
    flat = np.ascontiguousarray(one_hot.transpose(1, 0, 2).reshape(n, v * c))
    weighted = crowd.weights.astype(np.float32)
    posterior = np.tensordot(weighted, one_hot, axes=1) + np.float32(0.01)
    posterior /= posterior.sum(1, keepdims=True)
    prior = np.full((v, c, c), ELSEWHERE) + (DIAGONAL - ELSEWHERE) * np.eye(c)
    log_confusion = np.zeros((v, c, c))
    for _ in range(iterations):
        balance = (posterior.sum(0, dtype=np.float64) + CLASS_PRIOR) / (n + c * CLASS_PRIOR)
        confusion = (posterior.T @ flat).reshape(c, v, c).transpose(1, 0, 2) + prior
        log_confusion = np.log(confusion / confusion.sum(2, keepdims=True))
        table = (log_confusion * crowd.weights[:, None, None]).transpose(0, 2, 1).reshape(v * c, c)
        before, posterior = posterior, softmax(flat @ table.astype(np.float32) + np.log(balance).astype(np.float32), axis=1)
        if np.abs(posterior - before).max() < TOLERANCE:
            break
    return posterior.astype(np.float64), log_confusion


def consensus(votes: Votes, crowd: Voters, n_labels: int) -> Consensus:
    """(M, n) answers of all candidates judged by the posterior of the voters among them."""
    m, n = votes.shape
    posterior, log_confusion = em(crowd, n_labels)
    chosen = _one_hot(votes, n_labels).reshape(m, n * n_labels)
    rooted = chosen * np.sqrt(posterior).astype(np.float32).reshape(1, -1)
    joint = (rooted @ rooted.T / n).astype(np.float64)
    return Consensus(
        posterior,
        np.take_along_axis(posterior, votes.T, 1).mean(0),
        _majority(votes, crowd, n_labels),
        joint,
        (chosen @ chosen.T / n).astype(np.float64),
        _leave_one_out(crowd, log_confusion, posterior, chosen),
    )


def _majority(votes: Votes, crowd: Voters, n_labels: int) -> F64:
    """Share of samples on which each candidate gives the label with most votes; tied labels share the credit."""
    tally = np.tensordot(crowd.weights, _one_hot(crowd.votes, n_labels).astype(np.float64), axes=1)
    top = np.isclose(tally, tally.max(1, keepdims=True))
    return np.asarray(np.take_along_axis(top / top.sum(1, keepdims=True), votes.T, 1).mean(0))


def _leave_one_out(crowd: Voters, log_confusion: F64, posterior: F64, chosen: F32) -> F64:
    """Jackknife over voters at fixed confusion tables: (M, M) covariance of the expected accuracies.

    A voter's own absence is left out of its own spread: that it loses a vote for itself is no doubt about it.
    """
    v = len(crowd.votes)
    n, c = posterior.shape
    if v < 2:
        return np.zeros((len(chosen), len(chosen)))
    # (V, C, n): what each voter adds to the log posterior of every sample
    added = (log_confusion * crowd.weights[:, None, None]).astype(np.float32)
    voices = np.take_along_axis(added, np.broadcast_to(crowd.votes[:, None], (v, c, n)), 2)
    total = np.log(np.maximum(posterior.T, 1e-30)).astype(np.float32)
    without = total[None] - voices
    without -= without.max(1, keepdims=True)
    np.exp(without, out=without)
    without /= without.sum(1, keepdims=True)
    accuracy = np.ascontiguousarray(without.transpose(0, 2, 1)).reshape(v, n * c) @ chosen.T / n
    own = _one_hot(crowd.votes, c).reshape(v, n * c) @ chosen.T > n - 0.5
    apart = np.where(own, 0.0, accuracy - accuracy.mean(0, where=~own)).astype(np.float64)
    return np.asarray(apart.T @ apart * (v - 1) / v)


def _one_hot(votes: Votes, n_labels: int) -> F32:
    return np.eye(n_labels, dtype=np.float32)[votes]
