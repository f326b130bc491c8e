"""Confirming a search with a few labels: the contest of its leaders, the next sample, what counts as its label, and the services.

The estimate lives in `gpuworker.core.labelling`; everything here is read anew from rows, so that a reload, another person's label or an
undo all lead to the same state. Letters: M candidates, n samples.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from django.core import signing
from django.db import transaction
from django.utils import timezone
from numpy.typing import NDArray

from accounts.models import User, audit
from gpuworker.core.errors import UserError
from gpuworker.core.labelling import Belief, Contest, Label, Pick, believe, contest, pick, verdict
from search.labelling_models import Confirmation, GivenLabel
from search.models import Candidate, CandidateState, SampleSetState, Search
from search.predictions import UNSEEN, answers_of

CONTESTANTS = 48
FEWEST = 2
MOST_SAMPLES = 2_000  # a preview is kept of so many; nobody can label what they cannot see
TICKET = "search.labelling"
TICKET_SECONDS = 24 * 3600


class CannotLabel(UserError):
    """The search has nothing to confirm, or the sample was not the one asked for."""

    code = "cannot_label"


@dataclass(frozen=True, slots=True)
class Ask:
    """The sample to label next. ticket: says, signed, that this person was asked for it and how it was drawn."""

    item: int
    ticket: str


@dataclass(frozen=True)
class Round:
    """The contest of a search's leaders, and everybody's words.

    candidates: (M,), in the board's order. labels: what counts, the oldest first. disputed: samples on which people disagree evenly.
    """

    search: Search
    candidates: tuple[Candidate, ...]
    contest: Contest
    given: tuple[GivenLabel, ...]
    labels: tuple[Label, ...]
    disputed: tuple[int, ...]

    @cached_property
    def belief(self) -> Belief:
        return believe(self.contest, self.labels)

    @property
    def order(self) -> list[int]:
        """Places of the candidates by what is known now, best first; equal ones in the board's order."""
        return sorted(range(len(self.candidates)), key=lambda place: (-self.belief.mean[place], place))

    def ask(self, person: User) -> Ask | None:
        """None once the person has seen every sample that still has no label."""
        closed = {row.item for row in self.given if row.person_id == person.pk or row.label is not None}
        found = pick(self.contest, self.belief, closed, seed=self.search.pk * 1_000_003 + person.pk)
        return None if found is None else Ask(found.item, _ticket(self.search, person, found))


def round_of(search: Search) -> Round:
    """Raises CannotLabel where there is nothing to choose between yet, or no more samples to look at."""
    if search.sample_set.state == SampleSetState.DELETED or not search.sample_set.folder.is_dir():
        raise CannotLabel(
            "The samples are gone.",
            detail="They were deleted on their retention date, or by their owner.",
            fix="What was confirmed before stays on the board.",
        )
    candidates, votes = _leaders(search)
    if len(candidates) < FEWEST or not votes.shape[1]:
        raise CannotLabel(
            "There is nothing to confirm yet.",
            detail=f"Labels choose between models, and {len(candidates) or 'none'} of them has answers to your samples so far.",
            fix="Wait for the first measured rows.",
        )
    given = tuple(GivenLabel.objects.of(search).select_related("person"))
    labels, disputed = counted(row for row in given if row.item < votes.shape[1])
    return Round(search, candidates, contest(votes, _experts(search, candidates), len(search.labels)), given, labels, disputed)


def _leaders(search: Search) -> tuple[tuple[Candidate, ...], NDArray[np.int16]]:
    """The first of the board that have seen what all in the race have, and their (M, n) answers to it."""
    rows = search.candidates.exclude(state=CandidateState.FAILED).filter(samples_done__gt=0).order_by("position", "pk")
    ran = list(rows.select_related("version__model__team").defer("version__program", "version__facts", "version__spec")[:CONTESTANTS])
    n = min(search.samples_done or min((row.samples_done for row in ran), default=0), MOST_SAMPLES)
    ran = [row for row in ran if row.samples_done >= n]
    votes = answers_of(search, ran).labels[:, :n]
    whole = (votes != UNSEEN).all(1)
    return tuple(row for row, known in zip(ran, whole, strict=True) if known), votes[whole]


def _experts(search: Search, candidates: Sequence[Candidate]) -> dict[str, NDArray[np.float64]]:
    """By name, the accuracy that each expects of every candidate; those without any word are left out."""
    # Under another metric than accuracy, what ANCHOR predicts is no accuracy; the others always speak of it.
    keys = ["a_only", "dawid_skene"] if search.metric else ["anchor", "a_only", "dawid_skene"]
    table = {key: np.array([_told(row, key) for row in candidates]) for key in keys}
    return {key: values for key, values in table.items() if np.isfinite(values).any()}


def _told(row: Candidate, key: str) -> float:
    told: Mapping[str, Any] = row.scores.get(key) or row.prior_scores.get(key) or {}
    value = told.get("value")
    return float("nan") if value is None else float(value)


def counted(given: Iterable[GivenLabel]) -> tuple[tuple[Label, ...], tuple[int, ...]]:
    """The label of a sample is the one most people gave; where as many gave another, none counts and the sample is disputed."""
    by_item: dict[int, list[GivenLabel]] = defaultdict(list)
    for row in given:
        if row.label is not None:
            by_item[row.item].append(row)
    labels, disputed = [], []
    for item, rows in by_item.items():
        first, *rest = Counter(row.label for row in rows).most_common(2)
        if rest and rest[0][1] == first[1]:
            disputed.append(item)
        else:
            labels.append(Label(item, int(first[0] or 0), float(np.mean([row.weight for row in rows]))))
    return tuple(labels), tuple(disputed)


def _ticket(search: Search, person: User, found: Pick) -> str:
    return signing.dumps([search.pk, person.pk, found.item, found.weight], salt=TICKET, compress=True)


def _drawn(search: Search, person: User, ticket: str) -> Pick:
    try:
        search_pk, person_pk, item, weight = signing.loads(ticket, salt=TICKET, max_age=TICKET_SECONDS)
    except signing.BadSignature:
        search_pk = person_pk = item = weight = None
    if (search_pk, person_pk) != (search.pk, person.pk):
        raise CannotLabel(
            "This is not the sample you were asked for.",
            detail="Which samples are labelled is drawn by chance, so that the estimate is fair.",
            fix="Ask for the next sample and label that one.",
        )
    return Pick(int(item), float(weight))


@transaction.atomic
def label_give(*, search: Search, actor: User, ticket: str, label: int | None) -> Confirmation:
    """The person's word on the sample they were asked for; None = cannot tell. A second word replaces the first.

    Raises CannotLabel for a ticket that is not theirs, or a label that the search does not have.
    """
    Search.objects.select_for_update(of=["self"]).get(pk=search.pk)
    drawn = _drawn(search, actor, ticket)
    if label is not None and not 0 <= label < len(search.labels):
        raise CannotLabel("The search has no such label.", detail=f"It has {len(search.labels)}.", fix="Choose one of them.")
    values = {"label": label, "weight": drawn.weight, "given": timezone.now()}
    GivenLabel.objects.update_or_create(search=search, person=actor, item=drawn.item, defaults=values)
    audit("label.give", search, actor=actor, after={"sample": drawn.item, "label": None if label is None else search.labels[label]})
    return confirmation_refresh(search=search)


@transaction.atomic
def label_take_back(*, search: Search, actor: User, item: int | None = None) -> GivenLabel | None:
    """The person's word on `item`, or their last one, is taken back; everything is as if it had never been given. None: there is none."""
    Search.objects.select_for_update(of=["self"]).get(pk=search.pk)
    rows = GivenLabel.objects.filter(search=search, person=actor)
    row = rows.order_by("-given", "-pk").first() if item is None else rows.filter(item=item).first()
    if row is None:
        return None
    before = None if row.label is None else search.labels[row.label]
    row.delete()
    audit("label.take_back", search, actor=actor, before={"sample": row.item, "label": before})
    confirmation_refresh(search=search)
    return row


def confirmation_refresh(*, search: Search) -> Confirmation:
    """What the labels say now. Runs in the caller's transaction, under the search's lock."""
    found = round_of(search)
    belief = found.belief
    low, high = belief.interval
    word = verdict(belief)
    figures = {
        str(row.pk): {"value": _share(value), "low": _share(below), "high": _share(above), "near_best": _share(near)}
        for row, value, below, above, near in zip(found.candidates, belief.mean, low, high, belief.near_best, strict=True)
    }
    values = {
        "n": len(found.labels),
        "figures": figures if found.labels else {},
        "kind": word.kind,
        "leader": found.candidates[word.leader].pk if found.labels else None,
        "sure": _share(word.sure),
        "changed": timezone.now(),
    }
    return Confirmation.objects.update_or_create(search=search, defaults=values)[0]


def _share(value: float | np.floating[Any]) -> float:
    return round(float(value), 6)


@transaction.atomic
def confirmation_calibrates(*, search: Search, actor: User, calibrates: bool) -> Confirmation:
    """Whether these labels may show how far predictions were off; the owner's to say."""
    row, _ = Confirmation.objects.get_or_create(search=search)
    before, row.calibrates = row.calibrates, calibrates
    row.save(update_fields=["calibrates"])
    audit("confirmation.calibrates", search, actor=actor, before={"calibrates": before}, after={"calibrates": calibrates})
    return row
