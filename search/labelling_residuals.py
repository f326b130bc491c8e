"""How far predictions were off where people labelled samples: what calibration may learn from searches whose owners let it.

Here the labels speak alone. The figures that the page confirms rest on the predictions too, and would flatter them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from django.db.models import Exists, OuterRef, QuerySet

from catalog.probe_models import ProbeSlice
from search.labelling import CannotLabel, Round, round_of
from search.labelling_models import Confirmation
from search.models import Search

LEAST_LABELS = 10


@dataclass(frozen=True, slots=True)
class Residual:
    """One model of one search: accuracy predicted with its 90 % interval, and measured on n labelled samples; shares in [0, 1].

    measured: weighted by how rarely each sample is drawn, so that the disputed ones do not count too much; error: its standard error.
    """

    search: int
    version: int
    predicted: float
    low: float
    high: float
    measured: float
    error: float
    n: int

    @property
    def off(self) -> float:
        """Predicted minus measured."""
        return self.predicted - self.measured


def residuals_of(found: Round) -> list[Residual]:
    """Of the models with a predicted accuracy and its interval; none below ten labels, or where another metric was predicted."""
    if len(found.labels) < LEAST_LABELS or found.search.metric:
        return []
    items, labels = [label.item for label in found.labels], np.array([label.label for label in found.labels])
    weights = np.array([label.weight for label in found.labels])
    share = weights / weights.sum()
    right = found.contest.votes[:, items] == labels
    measured = right @ share
    error = np.sqrt(((right - measured[:, None]) ** 2) @ share**2)
    return [
        Residual(found.search.pk, row.version_id, row.predicted, row.low, row.high, float(seen), float(chance), len(labels))
        for row, seen, chance in zip(found.candidates, measured, error, strict=True)
        if row.predicted is not None and row.low is not None and row.high is not None
    ]


def confirmations_for_calibration(searches: QuerySet[Search]) -> QuerySet[Confirmation]:
    """Of those searches that have labels enough, and whose owners let them serve. Samples that became probes play targets themselves, and
    later searches of them are foretold too well."""
    given = ProbeSlice.objects.filter(withdrawn=None, samples=OuterRef("search__sample_set__content_hash"))
    return Confirmation.objects.filter(~Exists(given), search__in=searches, calibrates=True, n__gte=LEAST_LABELS)


def residuals_for_calibration(searches: QuerySet[Search]) -> Iterator[Residual]:
    """Of those searches, the latest first. One whose samples are gone says nothing any more."""
    rows = confirmations_for_calibration(searches).select_related("search__sample_set").order_by("-changed")
    for row in rows.iterator(chunk_size=50):
        try:
            yield from residuals_of(round_of(row.search))
        except CannotLabel:
            continue
