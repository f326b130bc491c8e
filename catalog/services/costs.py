"""Writes about what versions take. Called inside the worker's own transaction, which holds the job's lease."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone

from catalog.cost_models import VersionCost, VersionWork
from catalog.facts import CheckedWork, PredictedCost

_FIGURES = ("latency_ms", "low_ms", "high_ms", "batch_ms", "batch_low_ms", "batch_high_ms", "memory_bytes", "batch_memory_bytes")


@transaction.atomic
def version_work_apply(*, version_id: int, work: CheckedWork) -> None:
    """Keep an analysis in place of an earlier one, whose predictions go with it."""
    fields = {"analysis": work.analysis, "document": work.document, "error": work.error[:300]}
    VersionWork.objects.update_or_create(version_id=version_id, defaults=fields)
    VersionCost.objects.filter(version=version_id).delete()


@transaction.atomic
def costs_write(*, costs: Iterable[PredictedCost]) -> None:
    """Keep predictions in place of earlier ones of the same version and device. One query, however many."""
    now = timezone.now()
    rows = [
        VersionCost(
            version_id=cost.version_id,
            device_id=cost.device_id,
            **dict(zip(_FIGURES, (*cost.latency, *cost.batch, cost.memory, cost.batch_memory), strict=True)),
            computed=now,
        )
        for cost in costs
    ]
    VersionCost.objects.bulk_create(rows, update_conflicts=True, unique_fields=["version", "device"], update_fields=[*_FIGURES, "computed"])
