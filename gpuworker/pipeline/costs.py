"""What versions take on every device: analysed once in the sandbox, predicted from each device's cost model.

A version is analysed when it is checked, one from before in the background. Predictions are written with the analysis, and for all
versions when a device was measured.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial

from django.db import transaction
from django.db.models import QuerySet

from catalog import dispatch, services
from catalog.cost_models import VersionWork
from catalog.facts import CheckedWork, PredictedCost
from catalog.models import ModelVersion, VersionState
from gpuworker.core.engine.cost import CostModel
from gpuworker.core.engine.footprint import VERSION, Footprint, Forecast, forecasts
from gpuworker.core.errors import UserError
from gpuworker.core.sandbox import SandboxDefect
from gpuworker.pipeline import sandboxed
from gpuworker.pipeline.background import BROKEN, give_way
from gpuworker.pipeline.devices import cost_of, this_device
from gpuworker.pipeline.lease import Lease
from gpuworker.pipeline.sandboxed import RunnableVersion
from jobs.models import Device, JobState

log = logging.getLogger(__name__)
BATCH = 500
Priced = Sequence[tuple[Device, CostModel]]


def work_of(version: ModelVersion, ask: Callable[[], object]) -> CheckedWork:
    """An analysis by the sandboxed child, checked. ask: calls it. Without one the reason is in the row and in the log."""
    try:
        return CheckedWork(VERSION, Footprint.from_json(ask()).to_json())
    except UserError as error:
        log.info("version %s cannot be foretold: %s", version.pk, error)
        return CheckedWork(VERSION, error=error.title)
    except (SandboxDefect, ValueError) as defect:
        log.error("version %s was not analysed: %s", version.pk, defect)
        return CheckedWork(VERSION, error=BROKEN)


def priced() -> Priced:
    """The measured devices with their cost models."""
    devices = Device.objects.filter(measured__isnull=False)
    return [(device, model) for device in devices if (model := cost_of(device)) is not None]


def costs_of(version_id: int, work: CheckedWork, devices: Priced) -> list[PredictedCost]:
    """What a version takes on each of the devices; nothing where its analysis found nothing."""
    if work.document is None:
        return []
    found = Footprint.from_json(work.document)
    return [_cost(version_id, device, forecasts(found, model)) for device, model in devices]


def costs_start() -> None:
    """For a worker's start: queue what is missing, for versions from before and for those whose analysis broke on our side."""
    VersionWork.objects.filter(error=BROKEN).delete()
    _start()


def _start() -> None:
    if _unanalysed().exists() or any(_unpriced(device).exists() for device, _ in priced()):
        dispatch.version_costs(device=this_device())


def run_costs(lease: Lease) -> None:
    """Job catalog.version_costs. After each version it gives way to whatever people wait for; another attempt goes on after the last."""
    waiting = list(_unanalysed().values_list("pk", flat=True))
    if waiting:
        _analyse(lease, waiting)
    for device, model in priced():
        _bring_up(lease, device, model)


def costs_ended(lease: Lease, state: JobState, error: UserError | None) -> None:
    """What became due after the job's last look is done by another."""
    if state == JobState.SUCCEEDED:
        transaction.on_commit(_start)


def _analyse(lease: Lease, version_ids: Sequence[int]) -> None:
    devices = priced()
    with sandboxed.session() as child:
        for place, version in enumerate(ModelVersion.objects.select_related("model__team").filter(pk=pk).first() for pk in version_ids):
            if version is None:
                continue  # deleted meanwhile
            lease.progress(place / len(version_ids), f"{len(version_ids) - place} models to go")
            document = RunnableVersion(version.spec, version.program or {}, ()).document
            work = work_of(version, partial(sandboxed.asked_footprint, child, document))
            with lease.write():
                if ModelVersion.objects.filter(pk=version.pk).exists():
                    services.version_work_apply(version_id=version.pk, work=work)
                    services.costs_write(costs=costs_of(version.pk, work, devices))
            give_way()


def _bring_up(lease: Lease, device: Device, model: CostModel) -> None:
    """Predict what is missing or older than the device's measurement, in batches, each committed by itself."""
    while works := list(_unpriced(device)[:BATCH]):
        # Fine-tunes of one model are the same work: it is worked out once for them all.
        known: dict[str, list[Forecast]] = {}
        costs = []
        for work in works:
            key = json.dumps(work.document, sort_keys=True)
            if key not in known:
                known[key] = forecasts(Footprint.from_json(work.document), model)
            costs.append(_cost(work.pk, device, known[key]))
        with lease.write():
            services.costs_write(costs=costs)
        give_way()


def _unanalysed() -> QuerySet[ModelVersion]:
    """Checked versions without an analysis by the engine of today."""
    checked = ModelVersion.objects.filter(program__isnull=False).exclude(state__in=(VersionState.CHECKING, VersionState.REJECTED))
    return checked.exclude(work__analysis=VERSION).select_related("model__team").order_by("pk")


def _unpriced(device: Device) -> QuerySet[VersionWork]:
    return VersionWork.objects.unpriced_on(device, VERSION)


def _cost(version_id: int, device: Device, found: Sequence[Forecast]) -> PredictedCost:
    one, batch = found
    each = batch.ms / batch.samples, batch.low / batch.samples, batch.high / batch.samples
    return PredictedCost(version_id, device.pk, (one.ms, one.low, one.high), each, one.memory_bytes, batch.memory_bytes)
