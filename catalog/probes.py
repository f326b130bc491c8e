"""Reading probe sets: which slices make one up, what is chosen of them, how far the models have answered, and what looks wrong."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet
from numpy.typing import NDArray

from accounts.models import Team, User
from catalog.labels import canonical_label, label_key
from catalog.models import ModelVersion, VersionState
from catalog.probe_models import ProbeAnswers, ProbeSlice, ProbeSliceQuerySet
from gpuworker.core.probesets.alarms import Excess, excess
from gpuworker.core.probesets.selection import HASH_BYTES, Chosen, SliceRows, feature_layout, select
from gpuworker.core.specs import MODALITIES

LEAST_ANSWERED = 0.5  # of the searchable models: a slice that fewer can answer stays out of searches


def set_key(modality: str, labels: Sequence[str], meta: Mapping[str, Any]) -> str:
    """What slices must agree on to be one probe set: kind of sample, label names, and what makes their features comparable."""
    parts = json.dumps([modality, label_key(labels), feature_layout(meta)])
    return hashlib.sha256(parts.encode()).hexdigest()[:12]


def canonical_order(labels: Iterable[str]) -> list[str]:
    """The order of a probe set's labels: sorted canonical names."""
    return sorted(canonical_label(label) for label in labels)


def searchable() -> QuerySet[ModelVersion]:
    """Versions that searches consider, whoever may see them: a model answers all probes that fit it, nobody else's eyes needed."""
    return ModelVersion.objects.filter(state=VersionState.PUBLISHED, model__deleted=None, model__published_version=F("pk"))


def versions_lacking() -> QuerySet[ModelVersion]:
    """For a query over slices: searchable versions that have neither answered the slice nor failed on it."""
    done = ProbeAnswers.objects.filter(version=OuterRef("pk"), piece=OuterRef(OuterRef("pk")))
    same = searchable().filter(label_key=OuterRef("label_key"), model__modality=OuterRef("modality"))
    return same.filter(~Exists(done))


def usable(slices: ProbeSliceQuerySet) -> list[ProbeSlice]:
    """Those of one probe set's slices that searches use: run to the end once, and answered by half of the searchable models."""
    pieces = list(slices.filter(answered__isnull=False))
    if not pieces:
        return []
    spaces = {(piece.modality, piece.label_key) for piece in pieces}
    models = Counter({space: searchable().filter(model__modality=space[0], label_key=space[1]).count() for space in spaces})
    found = ProbeAnswers.objects.of_searchable().filter(piece__in=pieces, log_probs__isnull=False)
    counts = dict(found.values_list("piece").annotate(n=Count("pk")))
    return [piece for piece in pieces if counts.get(piece.pk, 0) >= LEAST_ANSWERED * models[piece.modality, piece.label_key]]


def rows_of(piece: ProbeSlice) -> SliceRows:
    """A kept slice as the selection reads it, its labels numbered in canonical order."""
    place = {name: number for number, name in enumerate(canonical_order(piece.labels))}
    table = np.array([place[canonical_label(label)] for label in piece.labels], np.int64)
    hashes = np.frombuffer(bytes(piece.row_hashes or b""), np.uint8).reshape(-1, HASH_BYTES)
    labels = np.frombuffer(bytes(piece.row_labels or b""), "<u2")
    return SliceRows(piece.pk, piece.origin, piece.owner_id, hashes, table[labels])


def choose(pieces: Sequence[ProbeSlice]) -> Chosen:
    """What a probe set takes of these slices. The encoders and the set itself count into its digest."""
    recipe = json.dumps(sorted({(piece.set_key, piece.encoder) for piece in pieces}))
    return select([rows_of(piece) for piece in pieces], recipe=recipe)


@dataclass(frozen=True, slots=True)
class ProbeSetRow:
    """A team's probe set as lists show it. rows: of all its slices, equal ones counted each time. behind: slices that not every
    model has been run on yet."""

    team: Team
    key: str
    modality: str
    labels: list[str]
    slices: int
    rows: int
    givers: int
    behind: int
    newest: datetime
    public: bool

    @property
    def modality_label(self) -> str:
        return MODALITIES[self.modality].label


def probe_sets(user: User, *, team: str = "") -> list[ProbeSetRow]:
    """Every probe set that this person's searches may use, by team. Two queries."""
    pieces = ProbeSlice.objects.open_to(user).lean().select_related("team__probe_sharing")
    groups: dict[tuple[int, str], list[ProbeSlice]] = defaultdict(list)
    for piece in pieces.filter(team__slug=team) if team else pieces:
        groups[piece.team_id, piece.set_key].append(piece)
    found = [set_row(group) for group in groups.values()]
    return sorted(found, key=lambda row: (row.team.name, row.modality, row.labels))


def set_row(group: Sequence[ProbeSlice]) -> ProbeSetRow:
    """Slices of one team and set key, with their team, as one row."""
    first = group[0]
    team = first.team
    return ProbeSetRow(
        team=team,
        key=first.set_key,
        modality=first.modality,
        labels=sorted(first.labels),
        slices=len(group),
        rows=sum(piece.n for piece in group),
        givers=len({piece.owner_id for piece in group}),
        behind=sum(piece.answered is None for piece in group),
        newest=max(piece.given for piece in group),
        public=is_public(team),
    )


def is_public(team: Team) -> bool:
    sharing = getattr(team, "probe_sharing", None)
    return bool(sharing and sharing.public)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A version that does better on somebody else's slice than is plausible."""

    version_id: int
    piece_id: int
    excess: Excess


def alarms(pieces: Collection[int], *, versions: Collection[int] | None = None) -> list[Alarm]:
    """Alarms on these slices, of the searchable versions or of the named ones (also while they wait for review). One query.

    A version is compared with what others published; on slices of its own publisher nobody is accused.
    """
    counted = ProbeAnswers.objects.filter(piece__in=list(pieces), judged__gt=0)
    searched = Q(version__in=searchable().values("pk"))
    rows = counted.filter(searched if versions is None else searched | Q(version__in=list(versions))).values_list(
        "piece", "version", "version__model__owner", "piece__owner", "judged", "correct"
    )
    by_piece: dict[int, list[tuple[int, int, int, int, int]]] = defaultdict(list)
    for piece, version, owner, giver, judged, correct in rows.order_by("piece", "version"):
        by_piece[piece].append((version, owner, giver, judged, correct))
    found = []
    for piece, answers in by_piece.items():
        best, totals = _best_by_owner(answers)
        for version, owner, giver, judged, correct in answers:
            if owner == giver or (versions is not None and version not in versions):
                continue
            others = [top for who, top in best if who != owner]
            peers = sum(totals.values()) - totals[owner]
            too_good = excess(correct, judged, best_peer=others[0], peers=peers) if others else None
            if too_good is not None:
                found.append(Alarm(version, piece, too_good))
    return found


def _best_by_owner(answers: Iterable[tuple[int, int, int, int, int]]) -> tuple[list[tuple[int, float]], Counter[int]]:
    """The best accuracy of the two best owners, best first, and how many versions each owner has."""
    best: dict[int, float] = {}
    totals: Counter[int] = Counter()
    for _, owner, _, judged, correct in answers:
        best[owner] = max(best.get(owner, 0.0), correct / judged)
        totals[owner] += 1
    return sorted(best.items(), key=lambda item: -item[1])[:2], totals


@dataclass(frozen=True, slots=True)
class Standing:
    """How a version did on the probes of other models that a person's searches may use.

    answered: slices. failed: why it could not answer slices, and how many. judged, correct: rows. overlap: rows that its own
    reference sample holds too, which are left out. alarms: where it is better than is plausible.
    """

    answered: int
    failed: list[tuple[str, int]]
    judged: int
    correct: int
    overlap: int
    alarms: list[Alarm]

    @property
    def accuracy(self) -> float | None:
        return self.correct / self.judged if self.judged else None


def standings(versions: Sequence[ModelVersion], user: User) -> dict[int, Standing]:
    """By version id; those are absent for whose labels there are no probes of other models that the person's searches may use.

    Three queries, whatever the number of versions.
    """
    spaces = {version.label_key for version in versions}
    slices = ProbeSlice.objects.open_to(user).filter(label_key__in=spaces)
    pieces = list(slices.values_list("pk", "modality", "label_key", "version__model"))
    answers: dict[int, list[ProbeAnswers]] = defaultdict(list)
    for item in ProbeAnswers.objects.filter(version__in=versions, piece__in=[piece[0] for piece in pieces]).defer("log_probs"):
        answers[item.version_id].append(item)
    raised: dict[int, list[Alarm]] = defaultdict(list)
    for alarm in alarms([piece[0] for piece in pieces], versions=[version.pk for version in versions]):
        raised[alarm.version_id].append(alarm)
    found = {}
    for version in versions:
        space = (version.model.modality, version.label_key)
        others = {pk for pk, modality, labels, model in pieces if (modality, labels) == space and model != version.model_id}
        if others:
            found[version.pk] = _standing([item for item in answers[version.pk] if item.piece_id in others], raised[version.pk])
    return found


def _standing(answers: Sequence[ProbeAnswers], raised: list[Alarm]) -> Standing:
    given = [item for item in answers if not item.error]
    return Standing(
        answered=len(given),
        failed=sorted(Counter(item.error for item in answers if item.error).items()),
        judged=sum(item.judged for item in given),
        correct=sum(item.correct for item in given),
        overlap=sum(_bits(item.seen) for item in given),
        alarms=raised,
    )


def _bits(packed: bytes | memoryview | None) -> int:
    return int(np.unpackbits(np.frombuffer(bytes(packed), np.uint8)).sum()) if packed else 0


def class_counts(piece: ProbeSlice, rows: NDArray[np.int64] | None = None) -> list[int]:
    """How many of a slice's rows (all, or those chosen) carry each label, in canonical order."""
    labels = rows_of(piece).labels
    counts: list[int] = np.bincount(labels if rows is None else labels[rows], minlength=len(piece.labels)).tolist()
    return counts
