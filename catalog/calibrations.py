"""How often the intervals of predictions held, per family of data: what a person may see of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from accounts.models import User
from catalog.labels import canonical_label
from catalog.probe_models import ProbeSetVersion, ProbeSlice
from gpuworker.core.metrics import Metric
from gpuworker.core.specs import MODALITIES

PROMISED = 0.9  # of the intervals on a board
TABLES = ("every", "leaders", "pairs")


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric with one choice of probes. every, leaders, winner: share of 90 % intervals that held for a source left out of the
    table: of all models, of the first five, of the first; None where one source alone shows nothing. targets: made-up searches.

    quantiles: (level, every, leaders, pairs) of the errors, each over its scale.
    """

    metric: str
    every: float | None
    leaders: float | None
    winner: float | None
    targets: int
    publishers: int
    models: int
    made: datetime
    quantiles: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Kind of sample and label space, with the probes that this person's searches take there. measured: empty while it is not."""

    key: str
    modality: str
    labels: list[str]
    teams: list[str]
    digest: str
    n: int
    sources: int
    measured: tuple[Measured, ...]

    @property
    def modality_label(self) -> str:
        return MODALITIES[self.modality].label

    @property
    def first(self) -> Measured | None:
        return self.measured[0] if self.measured else None


def calibrations(user: User) -> list[Family]:
    """Of every family for which this person's searches may use probes; operators see all. Two queries."""
    slices = ProbeSlice.objects.offered() if user.is_staff else ProbeSlice.objects.open_to(user)
    pieces = {
        pk: (set_key, modality, labels, team)
        for pk, set_key, modality, labels, team in slices.values_list("pk", "set_key", "modality", "labels", "team__slug")
    }
    made: dict[str, list[ProbeSetVersion]] = defaultdict(list)
    for version in ProbeSetVersion.objects.filter(set_key__in={row[0] for row in pieces.values()}):
        if version.pieces and set(version.pieces) <= pieces.keys():
            made[version.set_key].append(version)
    found = []
    for key, versions in made.items():
        version = max(versions, key=lambda version: (len(version.pieces), version.pk))
        _, modality, labels, _ = pieces[version.pieces[0]]
        teams = sorted({pieces[pk][3] for pk in version.pieces})
        measured = tuple(measured_of(version))
        names = sorted(labels, key=canonical_label)
        found.append(Family(key, modality, names, teams, version.digest, version.n, version.sources, measured))
    return sorted(found, key=lambda family: (family.modality_label, family.labels))


def measured_of(version: ProbeSetVersion) -> list[Measured]:
    """Accuracy first."""
    return [_measured(key, row) for key, row in sorted(version.calibration.items())]


def metric_text(key: str) -> str:
    """Of a key in `ProbeSetVersion.calibration`."""
    kind, _, rest = key.partition(":")
    if kind == "cost":
        return f"saved cost, matrix {rest}"
    return f"F1 of {rest}" if rest else Metric(kind).name  # type: ignore[arg-type]


def _measured(key: str, row: dict[str, Any]) -> Measured:
    table = row["table"]
    held = table["coverage"]
    return Measured(
        metric_text(key),
        held.get("every"),
        held.get("leaders"),
        held.get("winner"),
        table["targets"],
        table["publishers"],
        row["models"],
        datetime.fromisoformat(row["made"]),
        tuple(zip(row["levels"], *(table[name] for name in TABLES), strict=True)),
    )
