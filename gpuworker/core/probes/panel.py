"""The candidates that answered the probes, judged together: label probabilities for every sample of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from gpuworker.core.probes.algebra import F32, F64
from gpuworker.core.probes.marginal import apart, confusion_tables, label_shares, probe_shares, shifted, skill
from gpuworker.core.probes.stack import Stack
from gpuworker.core.probes.vicinity import Vicinity

LOCAL, OVERALL = 8.0, 4.0  # weights of a model's accuracy near a sample and of its accuracy overall
SURE = 0.98
SHARED_ERRORS = 0.3  # share of identical wrong answers that unrelated models have
MOST_VOTES = 4.0
CROWD_PROBES = 70.0  # probes that count as much as the candidates' agreement; thrice as many leave it a tenth


@dataclass(frozen=True, slots=True)
class Posterior:
    """(n, C) label probabilities of the first n samples from four sources, and `mixed`, the mean of stack and votes.

    shares: (C,) of the labels among the samples; stack and votes go by them, linear and near by those of the probes. lean: share of
    the candidates' agreement alone (`crowd`) in `mixed`: few probes say less than the crowd does, many say more.
    """

    linear: F64
    near: F64
    stack: F64
    votes: F64
    shares: F64
    crowd: F64 | None = None
    lean: float = 0.0

    @property
    def mixed(self) -> F64:
        anchored = (self.stack + self.votes) / 2
        return np.asarray(anchored if self.crowd is None else (1 - self.lean) * anchored + self.lean * self.crowd)

    def leaning(self, crowd: F64, probes: int) -> Posterior:
        """The same with the crowd's word for as much as so many probes leave room for."""
        return replace(self, crowd=crowd, lean=1 / (1 + (probes / CROWD_PROBES) ** 2))


class Panel:
    """Built from the probes' answers alone; asked again with more predictions while a search runs.

    Letters: M models, R probes, n samples, C labels.
    """

    def __init__(
        self,
        vicinity: Vicinity,
        answers: Sequence[NDArray[np.floating[Any]]],
        n_labels: int,
        publishers: Sequence[tuple[int, ...]] | None = None,
    ) -> None:
        """answers: M tables (R, C) of log-probabilities over the vicinity's probes. Raises ValueError for other shapes.

        publishers: M tuples, whose data each model comes from; its errors are measured on the probes of others.
        """
        expected = (len(vicinity.probes.labels), n_labels)
        if any(table.shape != expected for table in answers):
            raise ValueError(f"answers to the probes must be {expected}, found {sorted({table.shape for table in answers})}")
        self.vicinity = vicinity
        self.n_labels = n_labels
        self._answers = answers
        self._publishers = list(publishers or [()] * len(answers))
        self.probe_votes = np.array([table.argmax(1) for table in answers], dtype=np.int64).reshape(len(answers), expected[0])

    def is_of(self, answers: Sequence[NDArray[np.floating[Any]]], n_labels: int, publishers: Sequence[tuple[int, ...]]) -> bool:
        """Whether it was built from these very tables."""
        same = len(answers) == len(self._answers) and all(new is own for new, own in zip(answers, self._answers, strict=True))
        return same and n_labels == self.n_labels and list(publishers) == self._publishers

    @cached_property
    def right(self) -> F32:
        """(M, R) 1 where a model answers a probe rightly."""
        return np.asarray(self.probe_votes == self.vicinity.probes.labels, np.float32)

    @cached_property
    def overall(self) -> F64:
        """(M,) g: mean of A2 and A3."""
        return np.asarray(self.right @ ((self.vicinity.neighbour_weights + self.vicinity.importance_weights) / 2))

    @cached_property
    def voice(self) -> F64:
        """(M, n) log odds that a model's vote on a sample is right, against each other label; 0 for one no better than chance."""
        local = (self.vicinity.neighbours.kernel @ self.right.T.astype(np.float64)).T
        chance = np.clip((LOCAL * local + OVERALL * np.clip(self.overall, 1 - SURE, SURE)[:, None]) / (LOCAL + OVERALL), 1 - SURE, SURE)
        return np.asarray(np.maximum(np.log(chance * max(self.n_labels - 1, 1) / (1 - chance)), 0.0))

    @cached_property
    def weights(self) -> F64:
        """(M,) votes each model counts for: models that make the same mistakes on the probes share theirs; four in all at most."""
        if not len(self.probe_votes):
            return np.zeros(0)
        wrong = self.right == 0
        number = wrong.sum(1)
        alike = np.stack([((self.probe_votes == votes) & mistaken).sum(1) for votes, mistaken in zip(self.probe_votes, wrong, strict=True)])
        shared = alike / np.maximum(np.minimum(number[:, None], number), 1)
        np.fill_diagonal(shared, 1.0)
        each = 1 / np.clip((shared - SHARED_ERRORS) / (1 - SHARED_ERRORS), 0, 1).sum(1)
        return np.asarray(each * min(1.0, MOST_VOTES / each.sum()))

    @cached_property
    def _stack(self) -> Stack:
        return self.vicinity.fits.stack(self.vicinity.probes.labels, self._answers)

    @cached_property
    def linear(self) -> F64:
        """T: (n, C)"""
        return self.vicinity.linear_teacher(self.n_labels)

    @cached_property
    def near(self) -> F64:
        """K: (n, C)"""
        return self.vicinity.near_teacher(self.n_labels)

    @cached_property
    def source(self) -> F64:
        """(C,) label shares of the probes."""
        return probe_shares(self.vicinity.probes.labels, self.n_labels)

    @cached_property
    def confusion(self) -> F64:
        """(M, C, C) shares of answers (rows) by label (columns) on others' probes near the samples, on all where none is near."""
        near = len(self.vicinity.probes.labels) * self.vicinity.neighbour_weights
        others = np.stack([apart(self.vicinity.probes.publishers, own) for own in self._publishers])
        weights = np.where((near * others).any(1, keepdims=True), near * others, others)
        return confusion_tables(self.probe_votes, self.vicinity.probes.labels, weights, self.n_labels)

    def ready(self) -> None:
        """Work out all that `posterior` needs beside predictions."""
        self.voice, self.weights, self.source, self.confusion, self._stack, self.linear, self.near  # noqa: B018

    def shares(self, votes: NDArray[np.int64]) -> F64:
        """(M, n) answers to samples -> (C,) how often each label occurs among them."""
        if not len(votes):
            return self.source
        answered = np.stack([np.bincount(row, minlength=self.n_labels) for row in votes]) / votes.shape[1]
        trust = self.weights / max(float(self.weights.sum()), 1e-12) * skill(self.confusion, self.source)
        return label_shares(answered, self.confusion, trust, self.source)

    def posterior(self, log_probs: Sequence[F32], n: int) -> Posterior:
        """M tables (n, C) over the first n samples -> label probabilities of those samples."""
        linear, near = self.linear[:n], self.near[:n]
        stack = self._stack(self.vicinity.points[:n], log_probs, self.n_labels)
        evidence = (np.log(linear) + np.log(near)) / 2
        votes = np.array([table.argmax(1) for table in log_probs], dtype=np.int64).reshape(len(log_probs), n)
        rows = np.arange(n)
        for row, weight, voice in zip(votes, self.weights, self.voice, strict=True):
            evidence[rows, row] += weight * voice[:n]
        shares = self.shares(votes)
        by_votes = shifted(softmax(evidence, axis=1), self.source, shares)
        return Posterior(linear, near, shifted(stack, self.source, shares), by_votes, shares)


def panel_of(
    vicinity: Vicinity,
    answers: Sequence[NDArray[np.floating[Any]]],
    n_labels: int,
    publishers: Sequence[tuple[int, ...]],
) -> Panel:
    """As `Panel`, kept with the vicinity until another is asked for: most of what it works out does not change as predictions come in.

    Tables are known again by being the same objects.
    """
    kept = vicinity.panel
    if kept is None or not kept.is_of(answers, n_labels, publishers):
        kept = vicinity.panel = Panel(vicinity, answers, n_labels, publishers)
    return kept
