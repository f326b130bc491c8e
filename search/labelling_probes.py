"""Giving labelled samples of a search to a team's probe set, where its owner agrees: which of them, how it went, taking them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse

from accounts.models import Role, Team, User, audit
from catalog.dispatch import PROBE_MAKE, probe_make
from catalog.facts import LabelledSamples
from catalog.probe_models import ProbeSlice
from catalog.services import labelled_slice_give, labelled_slice_withdraw
from gpuworker.core.errors import UserError
from gpuworker.core.labelling import by_lot, fair_chances
from jobs.models import LIVE, Job
from search.labelling import Round, round_of
from search.labelling_models import Confirmation, GivenLabel
from search.models import Search

LEAST_ROWS = 10
USUAL_SHARE, WORTH = 0.4, 5  # of the labels, the share that the lot leaves as far as one can tell beforehand; labels that this is worth


class CannotGive(UserError):
    """The labelled samples of a search cannot go to a probe set."""

    code = "cannot_give"


@dataclass(frozen=True, slots=True)
class Draw:
    """The labelled samples that a slice takes. rows: (sample, label) each; labels: how many count. missing: about so many more labels
    are needed, 0 where there are enough."""

    rows: tuple[tuple[int, int], ...]
    labels: int
    missing: int

    @property
    def document(self) -> list[list[int]]:
        """As `Confirmation.piece_rows` keeps it."""
        return [list(row) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Gift:
    """What a search's owner has given, and could give. piece: None where nothing is kept; error: why it could not be made.

    anew: giving again would take other samples. refused: why nothing can be given, "" where it can. teams: where they may.
    """

    piece: ProbeSlice | None
    state: Literal["none", "making", "failed", "running", "in_use"]
    error: str
    anew: bool
    draw: Draw
    refused: str
    teams: tuple[Team, ...]


def draw_of(found: Round) -> Draw:
    """Samples on which models disagree are asked for more often than others: of the labelled ones as many leave by lot as make the rest
    a plain draw, the same ones every time. Disputed samples do not count."""
    places = _places(found.given, found.contest.samples)
    chances = fair_chances(
        [label.weight for label in found.labels], [places[label.item] for label in found.labels], len(places), found.contest.samples
    )
    kept = by_lot(chances, [label.item for label in found.labels], found.search.pk)
    rows = tuple(sorted((found.labels[place].item, found.labels[place].label) for place in kept))
    share = (float(chances.sum()) + USUAL_SHARE * WORTH) / (len(chances) + WORTH)
    return Draw(rows, len(found.labels), max(0, ceil((LEAST_ROWS - len(rows)) / share)))


def _places(given: Sequence[GivenLabel], samples: int) -> dict[int, int]:
    """By sample, how many others had been labelled or skipped before it was drawn."""
    places: dict[int, int] = {}
    for row in sorted(given, key=lambda row: row.pk):
        if row.item < samples:
            places.setdefault(row.item, len(places))
    return places


def gift_of(search: Search, found: Round | None, person: User) -> Gift:
    """For the owner of the search, with their teams. found None: its samples are gone, and nothing can be given any more."""
    row = Confirmation.objects.filter(search=search).first()
    piece, draw = _kept(row), draw_of(found) if found else Draw((), 0, LEAST_ROWS)
    state, error = _state(piece)
    anew = piece is not None and row is not None and row.piece_rows != draw.document
    teams = tuple(person.teams_with_role(Role.PUBLISHER))
    return Gift(piece, state, error, anew, draw, _refused(search) if found else "The samples are gone.", teams)


def _kept(row: Confirmation | None) -> ProbeSlice | None:
    if row is None or row.piece_id is None:
        return None
    return ProbeSlice.objects.lean().filter(pk=row.piece_id, withdrawn=None).first()


def _state(piece: ProbeSlice | None) -> tuple[Literal["none", "making", "failed", "running", "in_use"], str]:
    if piece is None:
        return "none", ""
    if piece.size_bytes:
        return ("in_use" if piece.answered else "running"), ""
    job = Job.objects.filter(kind=PROBE_MAKE, subject_id=piece.pk).order_by("-pk").first()
    if job is not None and job.state in LIVE:
        return "making", ""
    told = [job.error_title, job.error_detail] if job is not None else []
    return "failed", " ".join(part for part in told if part)


def _refused(search: Search) -> str:
    """Who searches with samples that somebody else shared may not give these away."""
    sample_set = search.sample_set
    return "" if sample_set.demo or sample_set.owner_id == search.owner_id else "The samples belong to somebody else, who shared them."


@transaction.atomic
def confirmation_give(*, search: Search, team: Team, actor: User) -> ProbeSlice:
    """Keep labelled samples of a search for a team's probe set; what was given before is withdrawn. The same again changes nothing, and
    tries again what failed. The actor owns the search and may publish in the team.

    Raises CannotGive for too few labels or samples of somebody else, CannotLabel where the samples are gone.
    """
    locked = Search.objects.select_for_update(of=["self"]).select_related("sample_set").get(pk=search.pk)
    if refused := _refused(locked):
        raise CannotGive(refused, fix="Ask their owner to search, label and give.")
    draw, url = draw_of(round_of(locked)), reverse("search:search_confirm", args=[locked.pk])
    if draw.missing:
        raise CannotGive(
            "There are too few labels.",
            detail=f"{draw.labels} labels leave {len(draw.rows)} samples that stand for all of yours; {LEAST_ROWS} are needed.",
            fix=f"Label about {draw.missing} more.",
        )
    row, _ = Confirmation.objects.get_or_create(search=locked)
    before = _kept(row)
    if before is not None:
        if before.team_id == team.pk and row.piece_rows == draw.document:
            if not before.size_bytes:
                probe_make(piece=before, owner=actor, url=url)
            return before
        labelled_slice_withdraw(piece=before, actor=actor)
    samples = locked.sample_set
    given = LabelledSamples(samples.modality, locked.labels, samples.meta, samples.content_hash, len(draw.rows), url)
    row.piece, row.piece_rows = labelled_slice_give(team=team, actor=actor, given=given), draw.document
    row.save(update_fields=["piece", "piece_rows"])
    audit(
        "confirmation.give",
        locked,
        actor=actor,
        before={"probes": before.n if before else 0},
        after={"probes": row.piece.n, "team": team.slug},
    )
    return row.piece


@transaction.atomic
def confirmation_take_back(*, search: Search, actor: User) -> int:
    """Withdraw what was given of a search, at any time; the bytes that came free."""
    Search.objects.select_for_update(of=["self"]).get(pk=search.pk)
    piece = _kept(Confirmation.objects.filter(search=search).first())
    if piece is None:
        return 0
    audit("confirmation.take_back", search, actor=actor, before={"probes": piece.n, "team": piece.team.slug}, after={"probes": 0})
    return labelled_slice_withdraw(piece=piece, actor=actor)


def gifts_abandon(*, searches: QuerySet[Search], actor: User | None) -> None:
    """Before searches are deleted: what no worker has taken yet can no longer be taken. What has been given stays given."""
    asked = Confirmation.objects.filter(search__in=searches, piece__isnull=False).values("piece")
    for piece in ProbeSlice.objects.unmade().filter(pk__in=asked).select_related("team", "owner"):
        labelled_slice_withdraw(piece=piece, actor=actor)
