"""Searches and predictions: limits for a device, what a run is expected to take, and who cannot run at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import Team, User
from catalog.cost_models import VersionCost
from catalog.models import ModelVersion
from jobs.models import Device, Worker
from search.candidates import outlook
from search.constraints import BadConstraints, Constraints
from search.costs import MIB, Expected
from search.exports import board_rows
from search.models import SampleSet, Search
from search.plots.board import board_plots
from search.selection import TOO_LARGE, select
from search.services import CannotSearch, search_rerun, search_start
from tests.catalog.makers import give_cost, measured_device
from tests.conftest import api_for, client_for
from tests.search.factories import make_sampleset, make_search, make_version, run
from tests.search.test_pages import text
from tests.search.test_selection import names, reason, reasons

pytestmark = pytest.mark.django_db
BOARD = "A small board & more, 1 thread"


@pytest.fixture
def board(db: None) -> Device:
    return measured_device(BOARD)


@pytest.fixture
def samples(alice: User) -> SampleSet:
    return make_sampleset(alice, n=80)


@pytest.fixture
def models(alice: User, team: Team, board: Device) -> dict[str, ModelVersion]:
    """Measured at 2 ms and 3 MB each; on the board one is fast, one slow, of one nothing is known."""
    made = {name: make_version(alice, team, name) for name in ("fast", "slow", "unknown")}
    give_cost(made["fast"], board, 4.0, memory=2_000_000, batch=1.0)
    give_cost(made["slow"], board, 40.0, memory=9_000_000, batch=10.0)
    return made


def at_work(device: Device, name: str = "w1", **fields: Any) -> Worker:
    return Worker.objects.create(name=name, machine=device, **fields)


def test_limits_hold_for_the_device_that_was_asked_about(alice: User, samples: SampleSet, models: dict[str, ModelVersion]) -> None:
    measured = select(alice, samples, Constraints(max_latency_ms=5))
    assert names(measured) == {"fast", "slow", "unknown"}, "all were measured at 2 ms"
    found = select(alice, samples, Constraints(max_latency_ms=5, device=BOARD))
    assert names(found) == {"fast"}
    left = reason(found, "latency")
    assert left.sentence == f"They are slower than you allow on {BOARD}" and left.relax == "max_latency_ms"
    assert set(left.examples) == {("vision/slow", "40 ms, limit 5 ms"), ("vision/unknown", f"no prediction for {BOARD}")}
    memory = reason(select(alice, samples, Constraints(max_memory_bytes=2_500_000, device=BOARD)), "memory")
    assert memory.sentence.endswith(BOARD)
    assert ("vision/slow", "9\xa0MB, limit 2.5\xa0MB") in memory.examples and memory.count == 2


def test_a_limit_is_met_exactly_by_the_prediction(alice: User, samples: SampleSet, models: dict[str, ModelVersion]) -> None:
    assert names(select(alice, samples, Constraints(max_latency_ms=4, max_memory_bytes=2_000_000, device=BOARD))) == {"fast"}


def test_a_device_without_limits_leaves_nobody_out(alice: User, samples: SampleSet, models: dict[str, ModelVersion]) -> None:
    assert names(select(alice, samples, Constraints(device=BOARD))) == {"fast", "slow", "unknown"}


def test_a_device_that_is_gone_or_was_never_measured_predicts_nothing(
    alice: User, samples: SampleSet, models: dict[str, ModelVersion], board: Device
) -> None:
    Device.objects.create(name="never")
    for name in ("never", "gone"):
        found = select(alice, samples, Constraints(max_latency_ms=500, device=name))
        assert not found.chosen and reason(found, "latency").examples[0][1] == f"no prediction for {name}"


def test_the_nearest_miss_is_the_nearest_on_that_device(alice: User, samples: SampleSet, models: dict[str, ModelVersion]) -> None:
    found = outlook(alice, samples, Constraints(max_latency_ms=1, device=BOARD))
    # Without the limit all three come back; by what was measured they are still too slow.
    assert [(item.constraint, item.gained, item.nearest) for item in found.relaxed] == [("max_latency_ms", 3, "Fast with 4 ms")]
    loose = outlook(alice, samples, Constraints(max_latency_ms=3, device=BOARD))
    assert ("device", 3, "") in [(item.constraint, item.gained, item.nearest) for item in loose.relaxed]


@pytest.mark.parametrize("device", [3, None, ["a"]])
def test_a_device_is_a_name(device: object) -> None:
    if device is None:
        assert Constraints.from_json({"device": None}).device == ""
    else:
        with pytest.raises(BadConstraints, match="device"):
            Constraints.from_json({"device": device})


def test_what_a_run_takes_at_most(alice: User, samples: SampleSet, models: dict[str, ModelVersion], board: Device) -> None:
    at_work(board)
    found = outlook(alice, samples, Constraints()).expected
    # 80 samples are two batches of 32 and one of 16: 15 of the 31 steps from one sample to a batch.
    fast = 64 * 1.0 + 4.0 + (32 - 4.0) * 15 / 31
    assert found is not None and (found.device, found.known, found.memory_bytes) == (BOARD, 2, 18_000_000)
    assert found.seconds == pytest.approx((1 + 10) * fast / 1000)
    assert found.low == pytest.approx(found.seconds / 2) and found.high == pytest.approx(found.seconds * 2)
    one = outlook(alice, samples, Constraints(max_latency_ms=5, device=BOARD), 1).expected
    assert one == Expected(BOARD, 0.004, 0.002, 0.008, 4_000_000, 1)
    batch = outlook(alice, samples, Constraints(max_latency_ms=5, device=BOARD), 32).expected
    assert batch is not None and batch.seconds == pytest.approx(0.032)


def test_it_is_told_for_the_slowest_kind_of_machine_at_work(
    alice: User, samples: SampleSet, models: dict[str, ModelVersion], board: Device
) -> None:
    newer = measured_device("Newer")
    give_cost(models["fast"], newer, 1.0)

    def device() -> str:
        found = outlook(alice, samples, Constraints()).expected
        return found.device if found else ""

    assert device() == "Newer", "with nobody at work, the one measured last"
    worker = at_work(newer)
    assert device() == "Newer"
    other = at_work(board, "w2")
    assert device() == BOARD
    Worker.objects.filter(pk=other.pk).update(draining=True)
    assert device() == "Newer"
    Worker.objects.filter(pk=other.pk).update(draining=False, seen=timezone.now() - timedelta(hours=1))
    assert device() == "Newer"
    Worker.objects.filter(pk=worker.pk).update(machine=measured_device("Without predictions"))
    assert device() == "", "of a machine for which nothing is predicted nothing is said"


def test_who_is_too_large_for_a_worker_is_told_before_the_start(
    alice: User, samples: SampleSet, models: dict[str, ModelVersion], board: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work(board)
    monkeypatch.setattr(settings, "SANDBOX_MEMORY_MB", 4)
    found = select(alice, samples, Constraints())
    assert names(found) == {"fast", "unknown"}, "of one nothing is predicted there: 3 MB were measured"
    left = reason(found, TOO_LARGE)
    assert left.examples == (("vision/slow", "9\xa0MB, limit 4.2\xa0MB"),) and left.relax == ""
    search = search_start(owner=alice, sample_set=samples)
    assert search.candidates.count() == 2
    VersionCost.objects.update(memory_bytes=4 * MIB)
    assert names(select(alice, samples, Constraints())) == {"fast", "slow", "unknown"}, "what fits exactly fits"
    VersionCost.objects.update(memory_bytes=4 * MIB + 1)
    assert names(select(alice, samples, Constraints())) == {"unknown"}


def test_one_worker_with_room_is_enough(
    alice: User, samples: SampleSet, models: dict[str, ModelVersion], board: Device, monkeypatch: Any
) -> None:
    lean = measured_device("Lean")
    at_work(board), at_work(lean, "w2")
    give_cost(models["slow"], lean, 40.0, memory=1_000_000)
    monkeypatch.setattr(settings, "SANDBOX_MEMORY_MB", 4)
    assert "slow" in names(select(alice, samples, Constraints()))


def test_a_search_that_cannot_fit_says_so(
    alice: User, samples: SampleSet, models: dict[str, ModelVersion], board: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "SANDBOX_MEMORY_MB", 1)
    assert reasons(select(alice, samples, Constraints())) == {TOO_LARGE: 3}
    with pytest.raises(CannotSearch) as refused:
        search_start(owner=alice, sample_set=samples)
    assert "more memory than a worker gives a model: 3" in refused.value.detail and "SANDBOX_MEMORY_MB" in refused.value.fix
    assert not Search.objects.exists()
    with pytest.raises(CannotSearch, match="slower") as mixed:
        search_start(owner=alice, sample_set=samples, constraints=Constraints(max_latency_ms=1e-3))
    assert "Relax" in mixed.value.fix
    page = text(client_for(alice).get(reverse("search:search_new"), {"samples": samples.pk}))
    assert "the models are too large for the workers" in page and "no model reads samples like these" not in page


def test_nothing_is_left_out_for_what_nobody_knows(alice: User, team: Team, samples: SampleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    version = make_version(alice, team, "unknown")
    ModelVersion.objects.filter(pk=version.pk).update(memory_bytes=None)
    monkeypatch.setattr(settings, "SANDBOX_MEMORY_MB", 1)
    assert names(select(alice, samples, Constraints())) == {"unknown"}


def test_the_form_asks_for_a_device_and_says_what_it_takes(
    alice: User, samples: SampleSet, models: dict[str, ModelVersion], board: Device
) -> None:
    browser = client_for(alice)
    at_work(board)
    page = text(browser.get(reverse("search:search_new"), {"samples": samples.pk}))
    assert "Device" in page and BOARD.replace("&", "&amp;") in page
    assert "Expected: under 1 s one by one; the largest takes 18 MB." in page and "That counts 2 of the 3" in page
    asked = {"samples": samples.pk, "device": BOARD, "max_latency_ms": "5", "label_key": models["fast"].label_key}
    answer = browser.post(reverse("search:search_count"), asked)
    assert "1 candidate 2 left out" in text(answer) and "That counts" not in text(answer)
    assert "device=A+small+board" in answer["HX-Replace-Url"]
    again = text(browser.get(answer["HX-Replace-Url"]))
    assert "1 candidate 2 left out" in again
    VersionCost.objects.update(batch_ms=10_000, batch_low_ms=5_000, batch_high_ms=20_000)
    few = text(browser.post(reverse("search:search_count"), asked | {"n_samples": "32"}))
    assert "Expected: 5 min one by one" in few and "In nine of ten cases it is 3 min to 11 min." in few
    assert "Select a valid choice" in text(browser.post(reverse("search:search_count"), asked | {"device": "Abacus"}))
    browser.post(reverse("search:search_new"), asked | {"scorers": ["atc"]})
    search = Search.objects.get()
    assert search.constraints["device"] == BOARD and search.candidates.count() == 1
    assert BOARD.replace("&", "&amp;") in text(browser.get(search.get_absolute_url()))
    assert search_rerun(search=search, actor=alice).constraints["device"] == BOARD


def test_without_a_measured_device_the_form_is_as_before(alice: User, team: Team, samples: SampleSet) -> None:
    make_version(alice, team, "good")
    Device.objects.create(name="never measured")
    page = client_for(alice).get(reverse("search:search_new"), {"samples": samples.pk})
    assert "1 candidate" in text(page) and "one by one; the largest" not in text(page) and b'name="device"' not in page.content


def test_the_api_plans_for_a_device(alice: User, samples: SampleSet, models: dict[str, ModelVersion], board: Device) -> None:
    at_work(board)
    client, url = api_for(alice), reverse("api-search-plan")
    body = {"sample_set": samples.pk, "constraints": {"device": BOARD, "max_latency_ms": 5}, "n_samples": 32}
    answer = client.post(url, body, format="json").json()
    assert answer["candidates"] == ["vision/fast"]
    assert answer["expected"] == {"device": BOARD, "seconds": 0.032, "low": 0.016, "high": 0.064, "memory_bytes": 4_000_000, "known": 1}
    assert answer["excluded"][0]["sentence"].endswith(BOARD)
    bad = client.post(url, body | {"constraints": {"device": "Abacus"}}, format="json")
    assert bad.status_code == 400 and BOARD in str(bad.json()["errors"])
    Device.objects.all().delete()
    assert client.post(url, {"sample_set": samples.pk}, format="json").json()["expected"] is None


def test_queries_do_not_grow(alice: User, team: Team, samples: SampleSet, board: Device) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            outlook(alice, samples, Constraints(max_latency_ms=5, device=BOARD))
        assert not [query["sql"] for query in captured if '"jobs_device"."cost"' in query["sql"]], "cost models are large"
        return len(captured)

    at_work(board)
    give_cost(make_version(alice, team, "first"), board, 1.0)
    before = count()
    for number in range(12):
        give_cost(make_version(alice, team, f"m{number}"), board, 1.0)
        at_work(measured_device(f"d{number}"), f"worker-{number}")
    assert count() == before <= 6


def test_board_report_and_plots_tell_what_the_device_takes(alice: User, samples: SampleSet, models: dict[str, ModelVersion]) -> None:
    versions = [models[name] for name in ("fast", "slow", "unknown")]
    plain, asked = (run(make_search(alice, samples, versions, constraints=limits)) for limits in ({}, {"device": BOARD}))
    assert [row["latency_ms"] for row in board_rows(plain)] == [2.0, 2.0, 2.0]
    assert [row["latency_ms"] for row in board_rows(asked)] == [4.0, 40.0, None]
    assert [row["memory_bytes"] for row in board_rows(asked)] == [2_000_000, 9_000_000, None]
    frontier = board_plots(asked)[1]
    assert [cells[2] for cells in frontier.rows] == ["4 ms", "40 ms"] and BOARD in frontier.description
    page = client_for(alice).get(asked.get_absolute_url())
    assert b"predicted for A small board" in page.content and "40 ms" in text(page)
    slow = asked.candidates.get(version=models["slow"])
    drawer = text(client_for(alice).get(reverse("search:search_row", args=[asked.pk, slow.pk])))
    assert "40 ms predicted for A small board" in drawer
