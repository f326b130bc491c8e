"""What work costs on this worker's device: measured once in the background, corrected by what real runs took."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from catalog.dispatch import version_costs
from gpuworker.core.engine.cost import CostModel
from gpuworker.pipeline.background import give_way
from gpuworker.pipeline.lease import Lease
from gpuworker.pipeline.sandboxed import device, session
from jobs import dispatch
from jobs.models import Device

STEP_SECONDS = 1.0
MOST_CORRECTIONS = 20_000
MOST_TIMES = 10.0  # a correction beyond this factor is no measurement


@cache
def device_name() -> str:
    """The processor or GPU, and the library that computes on it: figures of one do not hold for the other."""
    kind = device()
    if kind.startswith("cuda"):
        return f"{torch.cuda.get_device_name(kind)}, torch {torch.__version__}"
    return f"{_processor()}, 1 thread, torch {torch.__version__}"


def this_device() -> Device:
    """The row of this worker's device."""
    row, _ = Device.objects.get_or_create(name=device_name()[:200])
    return row


def device_start() -> None:
    """Queue the measurement where it is missing or was made by another version of the program."""
    row = this_device()
    if settings.DEVICE_SECONDS > 0 and cost_of(row) is None:
        dispatch.measure_device(device=row)


def cost_of(row: Device) -> CostModel | None:
    """None where it was never measured, or by another version of the program."""
    try:
        return CostModel.from_json(row.cost) if row.cost else None
    except (ValueError, KeyError, TypeError):
        return None


def measure_device(lease: Lease) -> None:
    """Job jobs.measure_device: small networks timed call by call. Between two seconds it gives way to whatever people wait for.

    Another job predicts then what the versions of the catalog take here, so that giving way there does not mean timing anew.
    """
    row, steps = this_device(), max(1, round(settings.DEVICE_SECONDS / STEP_SECONDS))
    with session() as child:
        for step in range(1, steps + 1):
            lease.progress((step - 1) / steps, "Timing small networks")
            give_way()
            reply = child.call("calibrate_costs", {"seconds": STEP_SECONDS, "device": device(), "layout": "fast", "fit": step == steps})
    with lease.write():
        Device.objects.filter(pk=row.pk).update(cost=reply.meta["cost"], measured=timezone.now())
        version_costs(device=row)


def corrections_save(learned: Mapping[str, tuple[float, int]]) -> None:
    """Keep what a run taught about pieces of work: (mean of log(actual / predicted), runs behind it). It comes from a sandboxed child:
    what cannot be is left out. Of too many those with the fewest runs go."""
    sound = {
        key: [mean, runs]
        for key, (mean, runs) in learned.items()
        if math.isfinite(mean) and abs(mean) < math.log(MOST_TIMES) and 0 < runs <= 1000 and len(key) < 200
    }
    if not sound:
        return
    with transaction.atomic():
        row = Device.objects.select_for_update().get(pk=this_device().pk)
        if cost_of(row) is not None:
            kept = sorted((row.cost["corrections"] | sound).items(), key=lambda item: -item[1][1])
            row.cost["corrections"] = dict(kept[:MOST_CORRECTIONS])
            row.save(update_fields=["cost"])


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
