"""The sentence above the board: a recommendation, a tie, or an honest "cannot tell" with cause and cheapest next step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gpuworker.core.metrics import ACCURACY, Metric
from gpuworker.core.ranking.grounds import Doubt
from gpuworker.core.ranking.standing import Standing
from gpuworker.core.scorers.consensus import MIN_SAMPLES
from gpuworker.core.scorers.intervals import Z

SURE = 0.8
CHANCE = 0.05
FEW_LABELS, MANY_LABELS = 8, 100
ALIKE = 0.98

_CANNOT = "Cannot tell which of {} models is best on your samples."

Kind = Literal["recommend", "tie", "cannot_tell"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """sentence: what we say; cause: why; next_step: the cheapest thing to do. leaders: candidate indexes, best first.

    Models go without names here; a page that knows them puts the leaders' names beside the sentence.
    """

    kind: Kind
    sentence: str
    cause: str
    next_step: str
    leaders: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What a verdict rests on beside the standing. predicted: value, low, high by candidate index. why: the scorers' own cause.

    doubt: why labelled probes carry no recommendation here. left: candidates that were taken out of the race before.
    """

    n: int
    candidates: int
    ran: tuple[int, ...]
    predicted: Mapping[int, tuple[float, float, float]]
    identical: bool
    unlike_all: bool
    why: str
    doubt: Doubt | None = None
    left: int = 0
    metric: Metric = ACCURACY


def verdict(facts: Facts, places: Standing | None) -> Verdict:
    """Never a recommendation without separable places; a cause and a next step always."""
    nothing = _no_basis(facts)
    if nothing is not None:
        return nothing
    if facts.identical:
        return Verdict(
            "tie",
            f"All {len(facts.ran)} models give the same answer to all {facts.n} samples.",
            "Models that answer alike cannot be told apart.",
            "Take the smallest or fastest of them, or drop harder samples.",
            facts.ran,
        )
    if facts.doubt is not None:
        return Verdict("cannot_tell", _CANNOT.format(len(facts.ran)), facts.doubt.cause, facts.doubt.next_step)
    if places is None:
        return _cannot_tell(facts)
    top = places.leaders()
    if len(top) == 1 and places.p_best[top[0]] < SURE:
        likely = np.flatnonzero(places.p_best >= CHANCE)
        top = np.unique(np.append(likely, top))
        top = top[np.argsort(-places.mean[top], kind="stable")]
    leaders = tuple(int(places.ran[place]) for place in top)
    if len(leaders) == 1:
        return _recommend(facts, leaders[0], float(places.p_best[top[0]]))
    return _tie(facts, places, top, leaders)


def _no_basis(facts: Facts) -> Verdict | None:
    if not facts.ran:
        return Verdict("cannot_tell", "Cannot tell yet.", "No candidate has run on your samples.", "Wait for the first results.")
    if facts.n < MIN_SAMPLES:
        return Verdict(
            "cannot_tell",
            f"Cannot tell from {_count(facts.n, 'sample')}.",
            f"Below {MIN_SAMPLES} samples chance decides which model looks best.",
            f"Drop at least {MIN_SAMPLES} samples, {MIN_SAMPLES - facts.n} more than have been run.",
        )
    if len(facts.ran) > 1:
        return None
    known = facts.predicted.get(facts.ran[0])
    name = facts.metric.name
    found = "" if known is None else f" Its predicted {name} is {_percent(known[0])} ({_percent(known[1])} to {_percent(known[2])})."
    return Verdict(
        "cannot_tell",
        f"Only one model has run, so there is nothing to compare it with.{found}",
        facts.why or "A best model needs at least two candidates.",
        "Relax a constraint to admit more candidates, or label 20 samples to check this one.",
    )


def _cannot_tell(facts: Facts) -> Verdict:
    return Verdict(
        "cannot_tell",
        _CANNOT.format(len(facts.ran)),
        facts.why or "Not every model has a prediction, and one without could be the best.",
        "Label 20 samples, or admit more candidates by relaxing a constraint.",
    )


def _recommend(facts: Facts, leader: int, p_best: float) -> Verdict:
    value, low, high = facts.predicted[leader]
    return Verdict(
        "recommend",
        f"One model stands out: predicted {facts.metric.name} {_percent(value)} ({_percent(low)} to {_percent(high)}), "
        f"best of {len(facts.ran)} with probability {_percent(p_best)}.",
        f"It is ahead of every other model on the same {facts.n} samples.{_caution(facts)}",
        f"Use it, or label 20 samples to confirm its {facts.metric.name}.",
        (leader,),
    )


def _tie(facts: Facts, places: Standing, top: np.ndarray[tuple[int], np.dtype[np.intp]], leaders: tuple[int, ...]) -> Verdict:
    labels, alike = _labels_to_separate(places, int(top[0]), int(top[1]))
    if alike is not None and alike >= ALIKE:
        step = f"The first two answer alike on {_percent(alike)} of the samples: take the smaller or faster one."
    elif labels is None:
        step = f"Add samples, or label {FEW_LABELS * 2} of those on which they disagree."
    elif labels > MANY_LABELS:
        step = f"Even {MANY_LABELS} labels may not separate the first two: take the smaller or faster one, or add samples."
    else:
        step = f"Label about {labels} samples on which they disagree to separate the first two."
    return Verdict(
        "tie",
        f"None of the {len(facts.ran)} models stands out yet."
        if len(leaders) == len(facts.ran)
        else f"{len(leaders)} of {len(facts.ran)} models lead and cannot be separated yet.",
        f"On the same {facts.n} samples they differ in predicted {facts.metric.name} by less than the uncertainty of the difference."
        f"{_caution(facts)}",
        step,
        leaders,
    )


def _labels_to_separate(places: Standing, first: int, second: int) -> tuple[int | None, float | None]:
    """Labels on contested samples (exactly one of two is right) for a sign test at 90 %, and the share both answer alike.

    z^2 (1 - e^2) / e^2, with e the predicted lead among contested samples; None without a consensus.
    """
    if places.joint_right is None or places.agreement is None:
        return None, None
    alike = float(places.agreement[first, second])
    only_first = float(places.mean[first] - places.joint_right[first, second])
    only_second = float(places.mean[second] - places.joint_right[first, second])
    lead = abs(only_first - only_second) / max(only_first + only_second, 1e-9)
    if lead < 1e-3:
        return MANY_LABELS + 1, alike
    return max(FEW_LABELS, int(np.ceil(min(Z * Z * (1 - lead**2) / lead**2, MANY_LABELS + 1)))), alike


def _caution(facts: Facts) -> str:
    waiting = facts.candidates - len(facts.ran)
    unlike = " Your samples look unlike every reference sample, so this rests on the models' agreement alone." if facts.unlike_all else ""
    absent = f" {_count(waiting, 'candidate')} did not take part." if waiting else ""
    return unlike + absent + (f" {_count(facts.left, 'candidate')} had left the race before." if facts.left else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
