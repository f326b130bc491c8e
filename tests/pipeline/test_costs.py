"""What versions take is worked out at their check, predicted for every measured device, and made up for versions from before."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import Team, User
from catalog.cost_models import VersionCost, VersionWork
from catalog.models import ModelVersion, VersionState
from gpuworker.core.engine.cost import CostModel, Curve
from gpuworker.core.engine.footprint import VERSION, Footprint, forecasts
from gpuworker.core.errors import ExecutionFailed
from gpuworker.core.sandbox import SandboxDefect
from gpuworker.pipeline import costs, devices, sandboxed
from gpuworker.pipeline.background import BACKGROUND
from gpuworker.pipeline.sandboxed import RunnableVersion
from jobs.models import Device, Job, JobState
from tests.catalog.makers import check, make_model, make_version, onnx_bytes, reference_bytes
from tests.pipeline.worlds import work

pytestmark = pytest.mark.django_db(transaction=True)


def measured(name: str, slow: float = 1.0) -> Device:
    """A device on which a product takes `slow` milliseconds, whatever its size."""
    cost = CostModel("cpu", {"gemm": Curve(slow, (), 0.0, 0.1), "piece": Curve(0.0, (), 0.0, 0.1), "light": Curve(0.0, (), 0.0, 0.1)})
    return Device.objects.create(name=name, cost=cost.to_json(), measured=timezone.now())


def waiting() -> list[Job]:
    return list(Job.objects.filter(kind="catalog.version_costs", state=JobState.QUEUED))


def checked(team: Team, alice: User, name: str = "shapes", **more: Any) -> ModelVersion:
    version = check(make_version(make_model(team, alice, name), alice, **more))
    assert version.state == VersionState.READY, version.error_title
    return version


def from_before(team: Team, alice: User, name: str = "old") -> ModelVersion:
    """A version whose check knew nothing of costs."""
    version = checked(team, alice, name)
    VersionWork.objects.filter(version=version).delete()
    VersionCost.objects.filter(version=version).delete()
    return version


@pytest.mark.parametrize("reference", [None, reference_bytes()], ids=["made up", "reference"])
def test_a_check_predicts_for_every_measured_device(team: Team, alice: User, reference: bytes | None) -> None:
    slow, fast = measured("slow", 4.0), measured("fast", 1.0)
    Device.objects.create(name="not measured")
    version = checked(team, alice, reference=reference)
    assert (version.work.analysis, version.work.error) == (VERSION, "")
    found = Footprint.from_json(version.work.document)
    assert {cost.device_id for cost in version.costs.all()} == {slow.pk, fast.pk}
    for device, ms in ((slow, 4.0), (fast, 1.0)):
        cost = version.costs.get(device=device)
        told = forecasts(found, devices.cost_of(device))
        assert cost.latency_ms == pytest.approx(ms)
        assert (cost.latency_ms, cost.low_ms, cost.high_ms) == pytest.approx((told[0].ms, told[0].low, told[0].high))
        assert cost.low_ms < cost.latency_ms < cost.high_ms
        assert cost.batch_ms == pytest.approx(ms / 32)
        assert cost.batch_low_ms < cost.batch_ms < cost.batch_high_ms
        assert version.tensor_bytes < cost.memory_bytes == told[0].memory_bytes <= cost.batch_memory_bytes


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ExecutionFailed("The process ran out of memory."), "The process ran out of memory."),
        (SandboxDefect("broken"), costs.BROKEN),
        ({"version": 1, "length": 0, "batches": [{"samples": 1, "memory_bytes": -5, "pieces": []}]}, costs.BROKEN),
        ("rm -rf", costs.BROKEN),
    ],
    ids=["error", "defect", "lies", "no document"],
)
def test_a_version_that_cannot_be_foretold_is_published_all_the_same(
    team: Team, alice: User, monkeypatch: pytest.MonkeyPatch, answer: object, said: str
) -> None:
    measured("slow")

    def ask(version: RunnableVersion) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(sandboxed, "footprint_without_samples", ask)
    version = checked(team, alice)
    assert (version.work.document, version.work.error) == (None, said)
    assert not version.costs.exists()
    costs.costs_start()
    assert len(waiting()) == (said == costs.BROKEN), "what is the program's own fault is not tried again"


def test_versions_from_before_are_made_up_in_the_background(team: Team, alice: User) -> None:
    device = measured("slow", 2.0)
    versions = [from_before(team, alice, "one"), from_before(team, alice, "two")]
    costs.costs_start()
    [job] = waiting()
    assert job.kind in BACKGROUND and job.owner is None
    assert work(job).state == JobState.SUCCEEDED
    for version in versions:
        assert VersionCost.objects.get(version=version, device=device).latency_ms == pytest.approx(2.0)
    costs.costs_start()
    assert not waiting()


def test_made_up_in_the_background_it_is_what_the_check_would_have_found(team: Team, alice: User) -> None:
    version = checked(team, alice)
    found = version.work.document
    version.work.delete()
    costs.costs_start()
    work(waiting()[0])
    assert VersionWork.objects.get(version=version).document == found


def test_it_gives_way_and_goes_on_after_the_last_version(team: Team, alice: User) -> None:
    versions = [from_before(team, alice, name) for name in ("one", "two", "three")]
    costs.costs_start()
    person = Job.objects.create(kind="search.run", subject_id=1, label="somebody's", lease_until=waiting()[0].lease_until)
    assert work(waiting()[0]).state == JobState.QUEUED
    assert list(VersionWork.objects.values_list("version", flat=True)) == [versions[0].pk]
    person.delete()
    assert work(waiting()[0]).state == JobState.SUCCEEDED
    assert VersionWork.objects.count() == 3


def test_measured_anew_all_are_predicted_anew_and_only_there(team: Team, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "BATCH", 2)
    other = measured("another", 3.0)
    versions = [checked(team, alice, name, content=onnx_bytes(seed=seed)) for seed, name in enumerate(("one", "two", "three"))]
    monkeypatch.setattr(settings, "DEVICE_SECONDS", 1.0)
    devices.device_start()
    assert work(Job.objects.get(kind="jobs.measure_device")).state == JobState.SUCCEEDED
    assert work(waiting()[0]).state == JobState.SUCCEEDED
    here = devices.this_device()
    assert VersionCost.objects.filter(device=here).count() == len(versions)
    VersionCost.objects.update(latency_ms=99.0)
    costs.costs_start()
    assert not waiting(), "nothing is missing"
    Device.objects.filter(pk=here.pk).update(measured=timezone.now())
    costs.costs_start()
    assert work(waiting()[0]).state == JobState.SUCCEEDED
    assert not VersionCost.objects.filter(device=here, latency_ms=99.0).exists()
    assert VersionCost.objects.filter(device=other, latency_ms=99.0).count() == len(versions)


def test_a_new_analysis_replaces_the_old_one(team: Team, alice: User) -> None:
    device = measured("slow", 2.0)
    version = checked(team, alice)
    VersionWork.objects.update(analysis=VERSION + 1)
    VersionCost.objects.all().delete()
    assert not VersionWork.objects.unpriced_on(device, VERSION).exists(), "what another analysis found is not read"
    costs.costs_start()
    assert work(waiting()[0]).state == JobState.SUCCEEDED
    version.refresh_from_db()
    assert version.work.analysis == VERSION
    assert VersionCost.objects.get(version=version).latency_ms == pytest.approx(2.0)
