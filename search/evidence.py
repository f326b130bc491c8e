"""Why a candidate stands where it does: everything the row's drawer shows, on the page and in the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from django.contrib.auth.models import AnonymousUser

from accounts.models import User
from catalog.models import Signature
from gpuworker.core.specs import SCORERS, ScorerSpec
from search.metrics import predicted_name
from search.models import Candidate, SampleSet, Search
from search.plots.candidate import balance_plot, history_plot
from search.plots.svg import Plot
from search.predictions import Answers, against_majority, answers_of, leaders
from search.previews import previews
from search.reference import class_balance, reference_plots, signature_arrays
from search.rows import ScorerCell, grade_of, measured, scorer_cell

COMPARED = 15
SHOWN = 6


@dataclass(frozen=True, slots=True)
class Told:
    """One scorer's word with the scorer's own description."""

    spec: ScorerSpec
    grade: str
    cell: ScorerCell


@dataclass(frozen=True, slots=True)
class OddSample:
    """A sample on which the candidate stands against the plurality. item: its preview, None where the person may not see it."""

    index: int
    item: dict[str, Any] | None
    own: str
    confidence: float
    majority: str
    others: int
    of: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the publisher's labelled reference sample of n says of the model's confidence; shares in [0, 1], None = not stored.

    error: expected calibration error; scaled: the same once the model's outputs are divided by `temperature`, above 1 where it
    is too sure of itself.
    """

    n: int
    accuracy: float
    error: float | None
    scaled: float | None
    temperature: float | None

    @property
    def leaning(self) -> Literal["over-confident", "under-confident", "about right", ""]:
        """Five in a hundred on either side of 1 are about right."""
        if self.temperature is None:
            return ""
        return "over-confident" if self.temperature > 1.05 else "under-confident" if self.temperature < 0.95 else "about right"


@dataclass(frozen=True, slots=True)
class Evidence:
    """told: scorers with a figure, those first that saw the samples; untold: those that cannot tell, with the cause.

    calibration: None where there was no labelled reference sample, and `uncalibrated` says the cause.
    warnings: what makes the figure weaker.
    """

    told: tuple[Told, ...]
    untold: tuple[Told, ...]
    plots: tuple[Plot, ...]
    odd: tuple[OddSample, ...]
    n_odd: int
    calibration: Calibration | None
    uncalibrated: str
    warnings: tuple[str, ...]


def samples_visible(user: User | AnonymousUser, sample_set: SampleSet) -> bool:
    """Whether the person may look at the samples themselves: a shared board does not share them."""
    return isinstance(user, User) and SampleSet.objects.visible_to(user).filter(pk=sample_set.pk).exists()


def evidence(user: User | AnonymousUser, candidate: Candidate, search: Search) -> Evidence:
    signature = Signature.objects.filter(version=candidate.version_id).first()
    plots = [
        history_plot(candidate, predicted_name(search)),
        *reference_plots(search.sample_set, signature),
        balance_plot(class_balance(candidate, search.labels, signature)),
    ]
    odd, n_odd = _odd(user, candidate, search)
    keys = [key for key in SCORERS if key in candidate.scores or key in candidate.prior_scores]
    told = [Told(SCORERS[key], grade_of(SCORERS[key]), scorer_cell(candidate, key)) for key in keys]
    return Evidence(
        tuple(sorted((word for word in told if word.cell.text), key=lambda word: word.grade == "prior")),
        tuple(word for word in told if not word.cell.text),
        tuple(plot for plot in plots if plot is not None),
        odd,
        n_odd,
        _calibration(signature),
        _uncalibrated(signature),
        _warnings(candidate, search),
    )


def _odd(user: User | AnonymousUser, candidate: Candidate, search: Search) -> tuple[tuple[OddSample, ...], int]:
    compared = leaders(search, COMPARED)
    if candidate.pk not in {row.pk for row in compared} and candidate.samples_done:
        compared = [*compared, candidate]
    if len(compared) < 2 or not candidate.samples_done:
        return (), 0
    answers = answers_of(search, compared)
    place = next(index for index, row in enumerate(compared) if row.pk == candidate.pk)
    found = against_majority(answers, place)
    shown = [int(index) for index in found[:SHOWN]]
    items: Sequence[dict[str, Any] | None] = (
        previews(search.sample_set, shown) if samples_visible(user, search.sample_set) else [None] * len(shown)
    )
    return tuple(_odd_sample(answers, search, place, index, item) for index, item in zip(shown, items, strict=True)), len(found)


def _odd_sample(answers: Answers, search: Search, place: int, index: int, item: dict[str, Any] | None) -> OddSample:
    column = answers.labels[:, index]
    others = [int(label) for other, label in enumerate(column) if other != place and label >= 0]
    majority = max(set(others), key=lambda label: (others.count(label), -label))
    return OddSample(
        index,
        item,
        str(search.labels[int(column[place])]),
        float(answers.confidence[place, index]),
        str(search.labels[majority]),
        others.count(majority),
        len(others),
    )


def _calibration(signature: Signature | None) -> Calibration | None:
    if signature is None or signature.accuracy is None:
        return None
    arrays = signature_arrays(signature.arrays)

    def number(name: str) -> float | None:
        return float(arrays[name][0]) if name in arrays else None

    figures = (number(f"calibration.{name}") for name in ("ece", "ece_scaled", "temperature"))
    return Calibration(signature.n, signature.accuracy, *figures)


def _uncalibrated(signature: Signature | None) -> str:
    if signature is None:
        return "The version has no behaviour signature, so nothing is known before it runs."
    if signature.accuracy is None:
        return "It was published with a reference sample without labels: how far its confidence can be trusted is not known."
    return ""


def _warnings(candidate: Candidate, search: Search) -> tuple[str, ...]:
    found = []
    if candidate.why and measured(candidate) and candidate.predicted is not None:
        found.append(candidate.why)
    if candidate.samples_done and candidate.predicted is not None and candidate.low is None:
        found.append("No interval could be computed for this prediction.")
    if candidate.predicted_balance and len(search.labels) > 2 and max(candidate.predicted_balance) > 0.9:
        label = search.labels[candidate.predicted_balance.index(max(candidate.predicted_balance))]
        found.append(f"It gives “{label}” to {100 * max(candidate.predicted_balance):.0f} % of your samples.")
    return tuple(dict.fromkeys(found))
