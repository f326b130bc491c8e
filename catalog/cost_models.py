"""What versions take: the engine's analysis of each, and what it comes to on every kind of machine that workers run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Exists, OuterRef
from django.utils import timezone

from gpuworker.core.specs import FORECAST_BATCH
from jobs.models import Device

if TYPE_CHECKING:  # which imports this module, so that Django finds its tables
    from catalog.models import ModelVersion  # noqa: F401


class VersionWorkQuerySet(models.QuerySet["VersionWork"]):
    def unpriced_on(self, device: Device, analysis: int) -> VersionWorkQuerySet:
        """Works by this analysis without a prediction on the device as it was measured last."""
        made = VersionCost.objects.filter(version=OuterRef("version"), device=device, computed__gte=device.measured)
        return self.filter(document__isnull=False, analysis=analysis).exclude(Exists(made)).order_by("pk")


class VersionWork(models.Model):
    """The amounts of work in a version, whatever the device: worked out once, when it is checked. Apart from the version, whose lists
    do not need it."""

    version = models.OneToOneField("catalog.ModelVersion", on_delete=models.CASCADE, primary_key=True, related_name="work")
    analysis = models.PositiveIntegerField(help_text="Version of the engine's analysis; another one is made anew")
    document = models.JSONField(null=True, help_text="As gpuworker.core.engine.footprint writes it; empty = nothing can be foretold")
    error = models.CharField(max_length=300, blank=True, help_text="Why nothing can be foretold")

    objects = VersionWorkQuerySet.as_manager()

    def __str__(self) -> str:
        return f"work of version {self.pk}"


class VersionCost(models.Model):
    """What a version takes on a device, predicted, with 90 % intervals. latency_ms, low_ms, high_ms: of one sample by itself.
    batch_ms, ...: of each sample in a batch. memory_bytes: weights and activations, one sample at a time, and with a batch."""

    version = models.ForeignKey("catalog.ModelVersion", on_delete=models.CASCADE, related_name="costs")
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="costs")
    latency_ms = models.FloatField()
    low_ms = models.FloatField()
    high_ms = models.FloatField()
    batch_ms = models.FloatField()
    batch_low_ms = models.FloatField()
    batch_high_ms = models.FloatField()
    memory_bytes = models.BigIntegerField()
    batch_memory_bytes = models.BigIntegerField()
    computed = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["device__name"]
        constraints = [models.UniqueConstraint(fields=["version", "device"], name="one_cost_per_device")]

    def __str__(self) -> str:
        return f"{self.latency_ms:.3g} ms on {self.device_id}"

    def ms_for(self, samples: int) -> tuple[float, float, float]:
        """(milliseconds, low, high) for so many samples in batches; the last batch may be smaller."""
        one = (self.latency_ms, self.low_ms, self.high_ms)
        each = (self.batch_ms, self.batch_low_ms, self.batch_high_ms)
        whole, rest = divmod(samples, FORECAST_BATCH)
        more = (rest - 1) / (FORECAST_BATCH - 1)
        ms, low, high = (
            whole * FORECAST_BATCH * many + (single + more * (FORECAST_BATCH * many - single) if rest else 0.0)
            for single, many in zip(one, each, strict=True)
        )
        return ms, low, high
