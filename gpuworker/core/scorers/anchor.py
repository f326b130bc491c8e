"""ANCHOR: what every answer is worth where labelled probes, nearby probes and the candidates' own answers meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.metrics import ACCURACY, Metric, expected, observed
from gpuworker.core.probes import Panel, Posterior, Vicinity, panel_of, vicinity_of
from gpuworker.core.probes.calibration import LEAST_SCALE, MEASURED_ON, UNCALIBRATED, Calibration
from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.answers import NOT_RUN, Ballots, ballots, told
from gpuworker.core.scorers.consensus import Voters, em, voters
from gpuworker.core.scorers.intervals import LEVEL, Z
from gpuworker.core.scorers.probe_answers import NO_PROBES
from gpuworker.core.scorers.sampling import Pairs, paired, sampling_covariance

F64 = NDArray[np.float64]

MIN_PROBES = 50
UNPROBED = "It has not answered the labelled probes, so this rests on the answers of the others."
FEW_PROBES = f"An estimate needs at least {MIN_PROBES} labelled probes of two labels."


@dataclass(frozen=True, eq=False)
class Judged:
    """The candidates that ran, judged on the n samples that all of them have.

    ran: (M,) their indexes. predicted: (M,) expected quality. opinions: by name, (M,) what each source alone expects, NaN where it
    cannot tell. posterior: label probabilities of the samples and their sources. votes: (M, n). probed: (M,) bool.
    """

    ran: NDArray[np.int64]
    predicted: F64
    opinions: Mapping[str, F64]
    posterior: Posterior
    votes: NDArray[np.int64]
    probed: NDArray[np.bool_]

    metric: Metric = ACCURACY

    @property
    def scale(self) -> F64:
        """(M,) .05 + standard deviation of the opinions: how far from the truth a prediction may be, up to a factor."""
        return np.asarray(LEAST_SCALE + np.nanstd(np.stack(list(self.opinions.values())), axis=0))

    @cached_property
    def pairs(self) -> Pairs:
        return paired(self.posterior.mixed, self.votes)

    @cached_property
    def sampling(self) -> F64:
        """(M, M) covariance of what chance adds, the samples being a few of many, to what as many as a pseudo-target's had added to the
        errors that the calibration measured."""
        beyond = max(0.0, 1 - self.votes.shape[1] / MEASURED_ON)
        return np.asarray(beyond * sampling_covariance(self.metric, self.posterior.mixed, self.votes, self.pairs))

    def covariance(self, calibration: Calibration) -> F64:
        """(M, M) of predicted minus true quality, for differences: models that answer alike err alike."""
        factor = calibration.quantile("pairs", LEVEL) / Z
        return np.asarray(factor**2 * np.outer(self.scale, self.scale) * self.pairs.agreement + self.sampling)

    def estimates(self, count: int, calibration: Calibration) -> list[Estimate]:
        """One for each of `count` candidates. An interval holds what sources of error made of pseudo-targets, and what chance adds."""
        reach = calibration.reach(self.scale, self.predicted, LEVEL)
        half = np.sqrt(reach**2 + Z**2 * np.diag(self.sampling))
        answers = [Estimate(None, why=NOT_RUN)] * count
        for index, value, side, known in zip(self.ran, self.predicted, half, self.probed, strict=True):
            low, high = max(0.0, value - side), min(1.0, value + side)
            answers[index] = Estimate(float(value), float(low), float(high), LEVEL, "" if known else UNPROBED)
        return answers


def anchor(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1]: accuracy expected under label probabilities that are anchored in labelled probes; 90 % interval.

    The probabilities are the mean of two posteriors. S: a regression on features and on the candidates' answers, fitted on the probes.
    Q: two teachers of the probes and the candidates' votes, each weighted by its accuracy on nearby probes, shared mistakes counted
    once and the crowd capped at four votes. Both are moved to the label shares that explain all candidates' answers best. With a hundred
    probes or fewer the candidates' agreement alone has a say as well. Cannot tell without probes or predictions.
    """
    found, vicinity = ballots(candidates), vicinity_of(target)
    why = why_not(vicinity)
    if found is None or vicinity is None or why:
        return told(len(candidates), found, np.zeros(0)) if found is None else [Estimate(None, why=why)] * len(candidates)
    return judge(vicinity, candidates, found).estimates(len(candidates), UNCALIBRATED)


def why_not(vicinity: Vicinity | None) -> str:
    """Why these probes carry no prediction, or an empty string."""
    if vicinity is None:
        return NO_PROBES
    labels = vicinity.probes.labels
    return FEW_PROBES if len(labels) < MIN_PROBES or (labels == labels[0]).all() else ""


@dataclass(frozen=True, eq=False)
class Weighed:
    """What probes and candidates say of the samples, whatever is to be predicted of it. found: the candidates' answers.

    tables: by name, (n, C) label probabilities of one source alone. probed: (M,) bool.
    """

    vicinity: Vicinity
    found: Ballots
    panel: Panel
    posterior: Posterior
    tables: Mapping[str, F64]
    probed: NDArray[np.bool_]

    def judged(self, metric: Metric) -> Judged:
        """The candidates' quality by this metric."""
        vicinity, votes = self.vicinity, self.found.votes
        weights = {
            "probe_cells": vicinity.cell_weights,
            "probe_neighbours": vicinity.neighbour_weights,
            "probe_importance": vicinity.importance_weights,
        }
        opinions = {name: np.full(len(votes), np.nan) for name in weights}
        for name, each in weights.items():
            opinions[name][self.probed] = observed(metric, vicinity.probes.labels, self.panel.probe_votes, self.found.n_labels, each)
        for name, table in self.tables.items():
            opinions[name] = expected(metric, table, votes)
        predicted = expected(metric, self.posterior.mixed, votes)
        return Judged(self.found.ran, predicted, opinions, self.posterior, votes, self.probed, metric)


def weigh(vicinity: Vicinity, candidates: Sequence[CandidateView], found: Ballots, shared: bool = False) -> Weighed:
    """found: `ballots(candidates)`. shared: whether the vicinity keeps the panel for the next time.

    Raises ValueError where probes and candidates have different labels.
    """
    n, n_labels = found.votes.shape[1], found.n_labels
    if vicinity.probes.labels.max() >= n_labels:
        raise ValueError("candidates and probes of one search must share one label space")
    tables = [candidates[index].probe_log_probs for index in found.ran]
    probed = np.array([table is not None for table in tables])
    publishers = [candidates[index].publishers for index, known in zip(found.ran, probed, strict=True) if known]
    make = panel_of if shared else Panel
    panel = make(vicinity, [table for table in tables if table is not None], n_labels, publishers)
    posterior = panel.posterior([rows for rows, known in zip(found.log_probs, probed, strict=True) if known], n)
    sources = _sources(posterior, found.votes, n_labels)
    return Weighed(vicinity, found, panel, posterior.leaning(sources["dawid_skene"], len(vicinity.probes.labels)), sources, probed)


def ready(target: TargetView, candidates: Sequence[CandidateView]) -> None:
    """Work out and keep what `judge` needs beside predictions, for candidates that all run."""
    vicinity = target.vicinity
    probed = [view for view in candidates if view.probe_log_probs is not None]
    if vicinity is None or why_not(vicinity) or not probed:
        return
    tables = [view.probe_log_probs for view in probed if view.probe_log_probs is not None]
    if vicinity.probes.labels.max() < tables[0].shape[1]:
        panel_of(vicinity, tables, tables[0].shape[1], [view.publishers for view in probed]).ready()


def judge(vicinity: Vicinity, candidates: Sequence[CandidateView], found: Ballots, metric: Metric = ACCURACY) -> Judged:
    """As `weigh`, then judged by one metric; the boards of one search share a panel."""
    return weigh(vicinity, candidates, found, shared=True).judged(metric)


def _sources(posterior: Posterior, votes: NDArray[np.int64], n_labels: int) -> dict[str, F64]:
    """By name, (n, C) label probabilities: three from the probes, two from the candidates' agreement alone."""
    crowd = voters(votes)
    if not len(crowd.votes):
        crowd = Voters(votes[:1], np.ones(1))
    tally = np.tensordot(crowd.weights, np.eye(n_labels)[crowd.votes], axes=1)
    top = np.isclose(tally, tally.max(1, keepdims=True))
    return {
        "linear": posterior.linear,
        "stack": posterior.stack,
        "votes": posterior.votes,
        "dawid_skene": em(crowd, n_labels)[0],
        "majority": top / top.sum(1, keepdims=True),
    }
