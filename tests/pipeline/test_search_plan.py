"""Searches whose candidates run as one plan: the loop's board, resumed anywhere, bad members named, everything else unharmed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from django.conf import settings

from accounts.models import Team, User
from catalog.models import ModelVersion
from gpuworker.core.engine.cost import CostModel
from gpuworker.core.sandbox import SandboxDefect
from gpuworker.pipeline import devices, planned
from gpuworker.pipeline import search as pipeline_search
from gpuworker.pipeline.sandboxed import PlanGone, RunnableVersion, Runner
from jobs.models import Device, Job, JobState
from jobs.services import job_cancel, job_retry
from search.models import Candidate, CandidateState, PredictionChunk, SampleSet, Search, SearchEvent, SearchPlan, SearchState
from search.services import candidate_retry, search_start
from tests.catalog.makers import onnx_bytes
from tests.pipeline import worlds
from tests.pipeline.test_search import GRID, assert_one_failed, kill_child, row
from tests.pipeline.worlds import board, count_calls, interrupted, published, queued, sample_set, searched, spans, work

pytestmark = pytest.mark.django_db(transaction=True)
N = 200
NAMES = ("one", "fifth", "thirteen", "twin")


@pytest.fixture
def models(team: Team, alice: User) -> list[ModelVersion]:
    """Four of one structure; two of them are the same to the bit."""
    return [published(team, alice, name, onnx_bytes(weights=worlds.weights(min(place, 2)))) for place, name in enumerate(NAMES)]


@pytest.fixture
def shots(alice: User) -> SampleSet:
    return sample_set(alice, N)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Runner]]:
    """The child comes back after every piece of work; what is appended is the runner at each step."""
    seen: list[Runner] = []
    real = Runner.run_plan

    def run_plan(self: Runner, begin: Any, seconds: float) -> Any:
        seen.append(self)
        return real(self, begin, seconds)

    monkeypatch.setattr(planned, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(Runner, "run_plan", run_plan)
    yield seen


def predictions(search: Search) -> dict[str, np.ndarray]:
    return {
        candidate.version.model.name: np.concatenate(
            [np.frombuffer(bytes(chunk.log_probs), "<f2").astype(np.float32) for chunk in candidate.chunks.order_by("start")]
        )
        for candidate in search.candidates.all()
    }


def test_the_board_is_the_loops(models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_calls(monkeypatch)
    search = searched(alice, shots)
    assert not calls and search.state == SearchState.FINISHED and search.samples_done == N
    monkeypatch.setattr(settings, "SEARCH_EXECUTION", "loop")
    loop = searched(alice, shots)
    assert len(calls) == len(GRID) * len(models) and loop.plan == {}
    for name, rows in predictions(loop).items():
        np.testing.assert_allclose(predictions(search)[name], rows, rtol=1e-3, atol=1e-3)
    for name, told in board(loop)["rows"].items():
        found = board(search)["rows"][name]
        assert found["predicted"] == pytest.approx(told["predicted"], abs=2e-3)
        assert (found["rank_from"], found["done"], found["state"]) == (told["rank_from"], told["done"], told["state"])
    assert all(spans(candidate) == GRID and candidate.seconds > 0 for candidate in search.candidates.all())


def test_the_plan_is_kept_and_told(models: list[ModelVersion], shots: SampleSet, alice: User) -> None:
    search = searched(alice, shots)
    kept = search.execution
    assert set(kept.candidates) == set(search.candidates.values_list("pk", flat=True))
    twins = {kept.candidates.index(row(search, name).pk) for name in ("thirteen", "twin")}
    parts = kept.drawing
    assert any(set(models) == twins for part in parts for models in part["models"]), "equal models are one piece of work"
    assert sum(len(part["models"]) for part in parts) == 3
    assert set(kept.worked) == {str(part["part"]) for part in parts}
    event = SearchEvent.objects.get(search=search, kind="planned").payload
    assert event == search.plan and event["candidates"] == 4 and event["one_by_one"] == 0
    assert 0 < event["low"] <= event["seconds"] <= event["high"] and event["shared"] == pytest.approx(0.25) and event["memory_bytes"] > 0


def test_exactly_means_to_the_bit(models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "SEARCH_EXECUTION", "exact")
    exact = searched(alice, shots)
    assert exact.execution.plan["layout"] == "plain"
    monkeypatch.setattr(settings, "SEARCH_EXECUTION", "loop")
    loop = searched(alice, shots)
    found = predictions(exact)
    assert all(np.array_equal(found[name], rows) for name, rows in predictions(loop).items())


@pytest.mark.parametrize("number", [2, 3, 4, 5, 7, 9])
@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
def test_resumed_after_a_kill_anywhere(
    models: list[ModelVersion],
    shots: SampleSet,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[Runner],
    number: int,
    after: bool,
) -> None:
    expected = board(searched(alice, shots))
    search = search_start(owner=alice, sample_set=shots)
    job = interrupted(monkeypatch, search, number, after=after)
    search.refresh_from_db()
    kept = SearchPlan.objects.filter(search=search).first()
    if kept is not None:
        kept.plan["parts"][0]["ms"] = 123.0  # which no planning would give
        kept.worked = {"0": 1e6}
        kept.save()
    saved = set(PredictionChunk.objects.filter(candidate__search=search).values_list("pk", flat=True))
    assert work(job).state == JobState.SUCCEEDED
    search.refresh_from_db()
    if kept is not None:
        assert search.execution.plan == kept.plan, "the run goes on with the plan it had"
        assert search.execution.worked["0"] >= 1e6, "what its pieces took before counts"
    assert board(search) == expected
    assert saved <= set(PredictionChunk.objects.filter(candidate__search=search).values_list("pk", flat=True))
    assert all(spans(candidate) == GRID for candidate in search.candidates.all()), "no row came twice"


def test_what_the_loop_has_no_room_for_may_run_in_smaller_chunks(
    models: list[ModelVersion], shots: SampleSet, team: Team, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(team, alice, "greedy", worlds.wide(1400))
    monkeypatch.setattr(settings, "SANDBOX_MEMORY_MB", 400)
    search = searched(alice, shots)
    assert row(search, "greedy").state == CandidateState.FINISHED and search.execution.plan["chunk"] < 32


def test_nan_ends_one_row(models: list[ModelVersion], shots: SampleSet, team: Team, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    published(team, alice, "fragile", worlds.nan_on_bright(), reference=worlds.dark_reference())
    calls = count_calls(monkeypatch)
    assert_one_failed(searched(alice, shots), "fragile", "NaN")
    assert not calls, "its siblings stay in the plan"


def test_a_dead_child_costs_nobody_a_row(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch, steps: list[Runner]
) -> None:
    expected = board(searched(alice, shots))
    steps.clear()
    calls = count_calls(monkeypatch)
    real, killed = Runner.run_plan, []

    def run_plan(self: Runner, begin: Any, seconds: float) -> Any:
        if len(steps) == 3 and not killed:
            killed.append(1)
            kill_child(self)
        return real(self, begin, seconds)

    monkeypatch.setattr(Runner, "run_plan", run_plan)
    search = searched(alice, shots)
    assert killed and {stop for _, _, stop in calls} == {32}, "one by one to the end of the rung, then as a new plan"
    assert board(search) == expected


@pytest.mark.parametrize("error", [SandboxDefect("a fault of ours"), PlanGone(), KeyError("models"), ValueError("no number")])
def test_whatever_the_child_does_wrong_breaks_the_plan_alone(
    error: Exception, models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = board(searched(alice, shots))
    calls = iter([error])

    def run_plan(self: Runner, begin: Any, seconds: float) -> Any:
        for broken in calls:
            raise broken
        return real(self, begin, seconds)

    real = Runner.run_plan
    monkeypatch.setattr(Runner, "run_plan", run_plan)
    assert board(searched(alice, shots)) == expected


def test_a_time_limit_ends_one_row(
    models: list[ModelVersion], shots: SampleSet, team: Team, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(team, alice, "greedy", worlds.slow(1280))
    monkeypatch.setattr(settings, "SANDBOX_CALL_SECONDS", 3.0)
    assert_one_failed(searched(alice, shots), "greedy", "time")


@pytest.mark.parametrize(("packs", "held"), [(2, 2), (3, 4)])  # twins share their file
def test_what_does_not_fit_runs_one_by_one(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch, packs: int, held: int
) -> None:
    monkeypatch.setattr(planned, "PACKS", packs)
    calls = count_calls(monkeypatch)
    search = searched(alice, shots)
    event = SearchEvent.objects.get(search=search, kind="planned").payload
    assert (event["candidates"], event["one_by_one"]) == (held, 4 - held) and len(calls) == (4 - held) * len(GRID)
    assert all(spans(candidate) == GRID for candidate in search.candidates.all())


def test_fitting_counts_a_tensor_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(*tensors: tuple[str, str, int]) -> RunnableVersion:
        return RunnableVersion({}, {}, tuple({"key": key, "pack": pack, "nbytes": size} for key, pack, size in tensors))

    trunk = ("trunk", "a", 400)
    versions = [version(trunk, ("h1", "a", 50)), version(trunk, ("h2", "b", 50)), version(("other", "c", 200)), version(trunk)]
    monkeypatch.setattr(planned, "sandbox_bytes", lambda: 1000)
    assert planned.fitting(versions) == [0, 1, 3]


def test_a_failed_row_is_run_again_alone(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = searched(alice, shots)
    expected = board(search)
    Candidate.objects.filter(pk=row(search, "fifth").pk).update(state=CandidateState.FAILED)
    PredictionChunk.objects.filter(candidate=row(search, "fifth")).delete()
    before = set(PredictionChunk.objects.values_list("pk", flat=True))
    candidate_retry(candidate=row(search, "fifth"), actor=alice)
    assert work(queued(search)).state == JobState.SUCCEEDED
    search.refresh_from_db()
    assert board(search) == expected
    assert set(PredictionChunk.objects.exclude(pk__in=before).values_list("candidate", flat=True)) == {row(search, "fifth").pk}


def test_stopped_within_a_step_and_taken_up_again(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch, steps: list[Runner]
) -> None:
    expected = board(searched(alice, shots))
    steps.clear()
    search = search_start(owner=alice, sample_set=shots)
    job = queued(search)
    real, asked = Runner.run_plan, []

    def run_plan(self: Runner, begin: Any, seconds: float) -> Any:
        if len(steps) == 2 and not asked:
            asked.append(1)
            job_cancel(job=job)
            time.sleep(1.5)  # the keeper looks once a second
        return real(self, begin, seconds)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run_plan", run_plan)
        assert work(job).state == JobState.CANCELLED
    assert len(steps) == 3, "the step under way is the last"
    again: Any = job_retry(job=job)
    assert work(again).state == JobState.SUCCEEDED
    search.refresh_from_db()
    assert board(search) == expected


def test_a_device_is_timed_once_and_learns(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "DEVICE_SECONDS", 2.0)
    devices.device_start()
    assert work(Job.objects.get(kind="jobs.measure_device")).state == JobState.SUCCEEDED
    device = Device.objects.get()
    model = devices.cost_of(device)
    assert model is not None and model.curves and not model.corrections and device.measured
    devices.device_start()
    assert not Job.objects.filter(kind="jobs.measure_device", state=JobState.QUEUED).exists()
    monkeypatch.setattr(pipeline_search, "SHORT_SECONDS", 0.0)  # a piece that runs once teaches nothing
    search = searched(alice, shots)
    assert search.execution.measured and search.execution.device == device.name
    device.refresh_from_db()
    learned = devices.cost_of(device)
    assert learned is not None and learned.corrections


def test_timing_gives_way_to_people(shots: SampleSet, models: list[ModelVersion], alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    devices.device_start()
    search_start(owner=alice, sample_set=shots)
    assert work(Job.objects.get(kind="jobs.measure_device")).state == JobState.QUEUED
    assert Device.objects.get().cost == {}


@pytest.mark.django_db
def test_nonsense_from_the_child_teaches_nothing() -> None:
    row = devices.this_device()
    row.cost = CostModel("cpu").to_json()
    row.save()
    devices.corrections_save({"a": [0.5, 3], "b": [float("nan"), 3], "c": [50.0, 3], "d": [0.1, -1], "e" * 300: [0.1, 1]})
    assert devices.this_device().cost["corrections"] == {"a": [0.5, 3]}


@pytest.mark.parametrize(("measured", "limit", "seen"), [(True, 1e9, [200]), (True, 0.0, [32, 128, 200]), (False, 1e9, [32, 128, 200])])
def test_a_run_that_is_sure_to_be_short_has_one_board_at_its_end(
    models: list[ModelVersion],
    shots: SampleSet,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
    measured: bool,
    limit: float,
    seen: list[int],
) -> None:
    monkeypatch.setattr(pipeline_search, "SHORT_SECONDS", limit)
    monkeypatch.setattr(pipeline_search, "FIRST_BOARDS_EVERY", 1e9)
    if measured:
        row = devices.this_device()
        row.cost = CostModel("cpu").to_json()
        row.save()
    found = searched(alice, shots)
    events = SearchEvent.objects.filter(search=found, kind="rung").order_by("seq")
    assert [event.payload["samples"] for event in events] == seen
    assert {candidate.samples_done for candidate in found.candidates.all()} == {N}


def test_a_run_with_candidates_outside_the_plan_is_never_short(models: list[ModelVersion], shots: SampleSet, alice: User) -> None:
    row = devices.this_device()
    row.cost = CostModel("cpu").to_json()
    row.save()
    found = searched(alice, shots)
    run = SimpleNamespace(search=found)
    found.plan |= {"high": 0.0, "one_by_one": []}
    assert pipeline_search.SearchRun._short(run)
    found.plan["one_by_one"] = [0]
    assert not pipeline_search.SearchRun._short(run)
