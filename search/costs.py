"""What candidates are predicted to take: on the device that was asked about, and where they are going to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from django.conf import settings

from catalog.cost_models import VersionCost
from catalog.models import ModelVersion
from jobs.models import Device
from search.models import SampleSet

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Costs:
    """Predictions by (version, device). devices: the measured ones. asked: of the constraints, None where its name is not known.
    at_work: the kinds of machine that workers run on now, the one measured last where none works."""

    devices: tuple[Device, ...] = ()
    asked: Device | None = None
    at_work: tuple[Device, ...] = ()
    rows: Mapping[tuple[int, int], VersionCost] = field(default_factory=dict)

    def of(self, version: ModelVersion, device: Device | None) -> VersionCost | None:
        return self.rows.get((version.pk, device.pk)) if device else None

    def worker_memory(self, version: ModelVersion) -> int | None:
        """Bytes that one sample at a time needs where it needs least, as measured at publication where nothing is predicted."""
        found = [cost.memory_bytes for device in self.at_work if (cost := self.of(version, device)) is not None]
        return min(found, default=version.memory_bytes)


@dataclass(frozen=True, slots=True)
class Expected:
    """What running candidates one by one over all samples takes, before anything is shared or merged and before any leaves: an upper
    bound. low, high: 90 % interval of the seconds. memory_bytes: of the largest with a batch. known: how many of the candidates have a
    prediction; the rest are not counted."""

    device: str
    seconds: float
    low: float
    high: float
    memory_bytes: int
    known: int


def costs_for(versions: Sequence[ModelVersion], device: str) -> Costs:
    """Two queries; one where nothing has been measured."""
    devices = list(Device.objects.measured().with_workers())
    asked = next((item for item in devices if item.name == device), None)
    newest = sorted(devices, key=lambda item: item.measured.timestamp() if item.measured else 0.0)[-1:]
    at_work = [item for item in devices if item.at_work] or newest  # type: ignore[attr-defined]  # annotated by with_workers
    wanted = {item.pk for item in (asked, *at_work) if item is not None}
    rows = VersionCost.objects.filter(version__in=[version.pk for version in versions], device__in=wanted) if wanted else ()
    return Costs(tuple(devices), asked, tuple(at_work), {(row.version_id, row.device_id): row for row in rows})


def expected(costs: Costs, versions: Iterable[ModelVersion], samples: int) -> Expected | None:
    """On the slowest kind of machine at work; None where nothing is predicted."""
    chosen = list(versions)
    found = (_expected(device, [row for item in chosen if (row := costs.of(item, device))], samples) for device in costs.at_work)
    return max((item for item in found if item.known), key=lambda item: item.seconds, default=None)


def _expected(device: Device, rows: Sequence[VersionCost], samples: int) -> Expected:
    times = [row.ms_for(samples) for row in rows]
    seconds, low, high = (sum(time[place] for time in times) / 1000 for place in range(3))
    return Expected(device.name, seconds, low, high, max((row.batch_memory_bytes for row in rows), default=0), len(rows))


def sandbox_bytes() -> int:
    """What a worker lets a model take."""
    return int(settings.SANDBOX_MEMORY_MB) * MIB


def samples_used(sample_set: SampleSet, wanted: int | None) -> int:
    """How many samples of a set a search takes. wanted: None for as many as allowed."""
    return min(sample_set.n or 0, wanted or settings.SEARCH_MAX_SAMPLES, settings.SEARCH_MAX_SAMPLES)
