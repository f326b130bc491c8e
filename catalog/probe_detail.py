"""Everything that the page and the API tell about one probe set of a team."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from django.db.models import Count, F, Q, Sum

from accounts.models import Role, Team, User
from catalog.calibrations import Measured, measured_of
from catalog.dispatch import PROBE_RUN
from catalog.labels import canonical_label
from catalog.models import ModelVersion, RegisteredModel
from catalog.probe_models import ProbeAnswers, ProbeSetVersion, ProbeSlice
from catalog.probes import Alarm, ProbeSetRow, alarms, choose, class_counts, searchable, set_row, usable
from gpuworker.core.probesets.selection import Chosen
from jobs.models import LIVE, Job, JobState


@dataclass(frozen=True, slots=True)
class PieceRow:
    """A slice and what the set takes of it. labelled: of samples that people labelled, else of a version's reference sample.

    version None: labelled samples, or of a model that this person may not see. giver: "" where they may not know it.
    used: rows chosen; counts: of those, by label. answered of asked models have been run on it. run: "done", "waiting", "running",
    "stuck". source: slices with the same number come from one source.
    """

    piece: ProbeSlice
    labelled: bool
    version: ModelVersion | None
    giver: str
    used: int
    counts: list[int]
    answered: int
    run: str
    source: int | None
    may_withdraw: bool


@dataclass(frozen=True, slots=True)
class ModelRow:
    """How a searchable model that this person may see did on the slices of other models. failed: slices it could not answer."""

    version: ModelVersion
    answered: int
    failed: int
    judged: int
    correct: int
    alarms: list[Alarm] = field(default_factory=list)

    @property
    def accuracy(self) -> float | None:
        return self.correct / self.judged if self.judged else None


@dataclass(frozen=True, slots=True)
class ProbeSetDetail:
    """row: as lists show it. labels: in canonical order, as the first giver spells them. n: rows chosen, 0 while no slice is ready.

    digest: of the choice, "" without one. counts: rows chosen by label. models: those this person may see; asked: all of them.
    calibration: how often intervals held with this very choice, accuracy first; empty before it was measured.
    """

    row: ProbeSetRow
    labels: list[str]
    encoders: list[str]
    n: int
    sources: int
    duplicates: int
    conflicts: int
    digest: str
    counts: list[int]
    pieces: list[PieceRow]
    models: list[ModelRow]
    asked: int
    calibration: list[Measured]
    may_share: bool

    @property
    def alarmed(self) -> list[ModelRow]:
        return [row for row in self.models if row.alarms]


def probe_set_detail(user: User, team: Team, key: str) -> ProbeSetDetail | None:
    """A probe set that this person's searches may use, or None. A fixed number of queries."""
    slices = ProbeSlice.objects.open_to(user).filter(team=team, set_key=key)
    pieces = list(
        slices.lean()
        .select_related("team__probe_sharing")
        .defer(None)
        .defer("features", "version__program", "version__spec", "version__facts")
    )
    if not pieces:
        return None
    first = pieces[0]
    ready = {piece.pk for piece in usable(slices.only("answered", "modality", "label_key"))}
    chosen = choose([piece for piece in pieces if piece.pk in ready])
    made = ProbeSetVersion.objects.filter(digest=chosen.digest).first() if chosen.n else None
    current = searchable().filter(model__modality=first.modality, label_key=first.label_key)
    asked = current.count()
    rows = _pieces(user, team, pieces, chosen, asked)
    counts = np.array([row.counts for row in rows]).sum(0).tolist()
    return ProbeSetDetail(
        row=set_row(pieces),
        labels=sorted(first.labels, key=canonical_label),
        encoders=sorted({piece.encoder for piece in pieces}),
        n=chosen.n,
        sources=chosen.used_sources,
        duplicates=chosen.duplicates,
        conflicts=chosen.conflicts,
        digest=chosen.digest if chosen.n else "",
        counts=counts,
        pieces=rows,
        models=_models(user, pieces, current),
        asked=asked,
        calibration=measured_of(made) if made else [],
        may_share=user.is_superuser or user.teams_with_role(Role.ADMIN).filter(pk=team.pk).exists(),
    )


def _pieces(user: User, team: Team, pieces: list[ProbeSlice], chosen: Chosen, asked: int) -> list[PieceRow]:
    of_versions = {piece.pk: piece.version.model_id for piece in pieces if piece.version is not None}
    known = RegisteredModel.objects.filter(pk__in=set(of_versions.values()))
    visible = set(known.filter(pk__in=RegisteredModel.objects.visible_to(user)).values_list("pk", flat=True))
    editable = set(known.filter(pk__in=RegisteredModel.objects.editable_by(user)).values_list("pk", flat=True))
    withdrawable, inside = set[int](), False
    if len(of_versions) < len(pieces):
        withdrawable = set(
            ProbeSlice.objects.withdrawable_by(user).filter(pk__in=[piece.pk for piece in pieces]).values_list("pk", flat=True)
        )
        inside = user.is_superuser or user.teams.filter(pk=team.pk).exists()
    answered = dict(ProbeAnswers.objects.of_searchable().filter(piece__in=pieces).order_by().values_list("piece").annotate(n=Count("pk")))
    jobs = Job.objects.filter(kind=PROBE_RUN, subject_id__in=[piece.pk for piece in pieces], state__in=LIVE)
    live = {subject: "running" if state == JobState.RUNNING else "waiting" for subject, state in jobs.values_list("subject_id", "state")}
    rows = []
    for piece in pieces:
        taken = chosen.rows.get(piece.pk, np.zeros(0, np.int64))
        count = answered.get(piece.pk, 0)
        model = of_versions.get(piece.pk)
        seen = inside or piece.owner_id == user.pk if model is None else model in visible
        done = piece.answered is not None and count >= asked
        rows.append(
            PieceRow(
                piece=piece,
                labelled=model is None,
                version=piece.version if seen else None,
                giver=piece.given_by.get_username() if seen and piece.given_by else "",
                used=len(taken),
                counts=class_counts(piece, taken),
                answered=count,
                run="done" if done else live.get(piece.pk, "stuck"),
                source=chosen.sources.get(piece.pk),
                may_withdraw=piece.pk in withdrawable if model is None else model in editable,
            )
        )
    return rows


def _models(user: User, pieces: list[ProbeSlice], current: Any) -> list[ModelRow]:
    versions = {
        version.pk: version
        for version in current.filter(model__in=RegisteredModel.objects.visible_to(user))
        .select_related("model__team")
        .defer("program", "spec", "facts")
        .order_by("model__team__slug", "model__name")
    }
    others = Q(piece__version=None) | ~Q(piece__version__model=F("version__model"))
    counted = (
        ProbeAnswers.objects.filter(piece__in=pieces, version__in=versions)
        .order_by()
        .values("version")
        .annotate(
            given=Count("pk", filter=Q(error="")),
            failed=Count("pk", filter=~Q(error="")),
            seen=Sum("judged", filter=others, default=0),
            right=Sum("correct", filter=others, default=0),
        )
    )
    figures = {row["version"]: row for row in counted}
    raised: dict[int, list[Alarm]] = defaultdict(list)
    for alarm in alarms([piece.pk for piece in pieces]):
        raised[alarm.version_id].append(alarm)
    nothing = {"given": 0, "failed": 0, "seen": 0, "right": 0}
    found = []
    for pk, version in versions.items():
        row = figures.get(pk, nothing)
        found.append(ModelRow(version, row["given"], row["failed"], row["seen"], row["right"], raised.get(pk, [])))
    return found
