"""Whole searches in the real sandbox: resumed anywhere, failing rows, other label orders, deletions, small ones."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np
import pytest
from django.conf import settings

from accounts.models import Team, User
from catalog.models import ModelVersion
from gpuworker.pipeline.sandboxed import Runner
from gpuworker.pipeline.search import SearchRun
from jobs.models import Job, JobState
from jobs.services import job_cancel, job_retry
from search.constraints import Constraints
from search.models import Candidate, CandidateState, PredictionChunk, SampleSet, Search, SearchEvent, SearchState
from search.samplesets import sampleset_delete
from search.services import CannotSearch, candidate_retry, search_start
from tests.catalog.makers import LABELS, onnx_bytes
from tests.pipeline import worlds
from tests.pipeline.worlds import board, count_calls, interrupted, published, queued, sample_set, searched, spans, work

pytestmark = pytest.mark.django_db(transaction=True)
N = 200
GRID = [(0, 32), (32, 128), (128, 200)]
NAMES = ("one", "fifth", "thirteen")


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain loop, whose calls into the sandbox are countable; tests/pipeline/test_search_plan.py has the same for plans."""
    monkeypatch.setattr(settings, "SEARCH_EXECUTION", "loop")


@pytest.fixture
def models(team: Team, alice: User) -> list[ModelVersion]:
    return [published(team, alice, name) for name in NAMES]


@pytest.fixture
def shots(alice: User) -> SampleSet:
    return sample_set(alice, N)


def row(search: Search, name: str) -> Candidate:
    return Candidate.objects.get(search=search, version__model__name=name)


def kill_child(runner: Runner) -> None:
    """What the kernel does to a child that eats the machine's memory."""
    runner._ensure_loaded()
    assert runner._session._owner is not None
    os.kill(runner._session._owner[1], signal.SIGKILL)


def test_a_search_scores_everyone_once(models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_calls(monkeypatch)
    search = searched(alice, shots)
    assert search.state == SearchState.FINISHED and search.samples_done == N
    assert len(calls) == len(GRID) * len(models) == len(set(calls))
    for candidate in search.candidates.all():
        assert (candidate.state, candidate.samples_done, spans(candidate)) == (CandidateState.FINISHED, N, GRID)
        assert candidate.predicted is not None and candidate.low <= candidate.predicted <= candidate.high
        assert [point[0] for point in candidate.history] == [32, 128, 200]
    assert sorted(search.candidates.values_list("position", flat=True)) == [0, 1, 2]
    kinds = list(SearchEvent.objects.filter(search=search).values_list("kind", flat=True))
    assert kinds[:3] == ["queued", "started", "prior"] and kinds[-1] == "finished"


@pytest.mark.parametrize("number", [1, 2, 3, 5, 6, 8, 11, 14])
@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
def test_resumed_after_a_kill_anywhere(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch, number: int, after: bool
) -> None:
    expected = board(searched(alice, shots))
    search = search_start(owner=alice, sample_set=shots)
    job = interrupted(monkeypatch, search, number, after=after)
    saved = PredictionChunk.objects.filter(candidate__search=search).count()
    calls = count_calls(monkeypatch)
    assert work(job).state == JobState.SUCCEEDED
    assert len(calls) == len(GRID) * len(models) - saved, "what was saved is not asked for again"
    search.refresh_from_db()
    assert board(search) == expected
    assert all(spans(candidate) == GRID for candidate in search.candidates.all())
    assert SearchEvent.objects.filter(search=search, kind="prior").count() == 1
    assert list(search.events.values_list("seq", flat=True)) == list(range(1, search.last_seq + 1))


def test_nan_ends_one_row(models: list[ModelVersion], shots: SampleSet, team: Team, alice: User) -> None:
    published(team, alice, "fragile", worlds.nan_on_bright(), reference=worlds.dark_reference())
    search = searched(alice, shots)
    assert_one_failed(search, "fragile", "NaN")


def test_a_dead_child_ends_one_row(models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = board(searched(alice, shots))
    with monkeypatch.context() as patch:
        count_calls(patch, lambda runner, number: kill_child(runner) if number == 2 else None)
        search = searched(alice, shots)
    failed = search.candidates.get(state=CandidateState.FAILED)
    assert_one_failed(search, failed.version.model.name, "")
    candidate_retry(candidate=failed, actor=alice)
    search.refresh_from_db()
    assert (search.state, search.finished) == (SearchState.QUEUED, None)
    calls = count_calls(monkeypatch)
    assert work(queued(search)).state == JobState.SUCCEEDED
    assert len(calls) == len(GRID) and len({key for key, _, _ in calls}) == 1, "only the row that failed is run"
    search.refresh_from_db()
    assert board(search) == alone


@pytest.mark.parametrize(("limit", "value", "content", "said"), [
    ("SANDBOX_MEMORY_MB", 400, worlds.wide(1400), "memory"),
    ("SANDBOX_CALL_SECONDS", 3.0, worlds.slow(1280), "time"),
], ids=["memory", "time"])  # fmt: skip
def test_a_limit_ends_one_row(
    models: list[ModelVersion], shots: SampleSet, team: Team, alice: User, monkeypatch: pytest.MonkeyPatch,
    limit: str, value: float, content: bytes, said: str,
) -> None:  # fmt: skip
    published(team, alice, "greedy", content)
    monkeypatch.setattr(settings, limit, value)
    search = searched(alice, shots)
    assert_one_failed(search, "greedy", said)


def assert_one_failed(search: Search, name: str, said: str) -> None:
    """The cause on its own row, last on the board; everybody else has everything."""
    failed = row(search, name)
    assert search.state == SearchState.FINISHED
    assert failed.state == CandidateState.FAILED
    told = f"{failed.error_title} {failed.error_detail} {failed.error_fix}"
    assert failed.error_title and failed.error_fix and said.lower() in told.lower(), told
    assert (failed.predicted, failed.p_best, failed.rank_from) == (None, None, None)
    others = search.candidates.exclude(pk=failed.pk)
    assert failed.position == others.count()
    assert {other.state for other in others} == {CandidateState.FINISHED}
    assert all(spans(other) == GRID and other.predicted is not None for other in others)
    assert failed.pk not in search.verdict["leaders"]
    event = SearchEvent.objects.get(search=search, kind="candidate_failed")
    assert event.payload["candidate"] == failed.pk and event.payload["title"] == failed.error_title


def test_nobody_can_run(shots: SampleSet, team: Team, alice: User) -> None:
    for name in ("fragile", "frail"):
        published(team, alice, name, worlds.nan_on_bright(), reference=worlds.dark_reference())
    search = searched(alice, shots)
    assert search.state == SearchState.FINISHED
    assert set(search.candidates.values_list("state", flat=True)) == {CandidateState.FAILED}
    assert search.verdict["leaders"] == [] and search.verdict["sentence"]


def test_another_label_order_changes_nothing(shots: SampleSet, team: Team, alice: User) -> None:
    """The same models with their outputs permuted, names and all, make the same board."""
    turned = Team.objects.create(slug="turned", name="Turned")
    turned.memberships.create(user=alice, role="admin")
    order = [2, 0, 1]
    for place, name in enumerate(NAMES):
        weights = worlds.weights(place)
        published(team, alice, name, onnx_bytes(weights=weights))
        published(turned, alice, name, onnx_bytes(weights=weights[:, order]), labels=[LABELS[index].upper() for index in order])
    plain = searched(alice, shots, constraints=Constraints(teams=(team.slug,)))
    other = searched(alice, shots, constraints=Constraints(teams=("turned",)))
    rows, others = board(plain)["rows"], board(other)["rows"]
    for name in NAMES:
        for field in ("predicted", "low", "high", "p_best"):
            assert others[name][field] == pytest.approx(rows[name][field], abs=2e-3), (name, field)
        assert others[name]["rank_from"] == rows[name]["rank_from"]
        assert others[name]["position"] == rows[name]["position"]
    together = searched(alice, shots)
    for name in NAMES:
        one, two = (
            np.concatenate([np.frombuffer(bytes(chunk.log_probs), "<f2").reshape(-1, 3) for chunk in candidate.chunks.order_by("start")])
            for candidate in together.candidates.filter(version__model__name=name)
        )
        assert np.allclose(one.astype(np.float32), two.astype(np.float32), atol=2e-2)


def test_one_candidate(shots: SampleSet, team: Team, alice: User) -> None:
    published(team, alice, "alone")
    search = searched(alice, shots)
    assert (search.state, search.samples_done) == (SearchState.FINISHED, N)
    assert search.verdict["sentence"]
    assert row(search, "alone").state == CandidateState.FINISHED


def test_one_sample(models: list[ModelVersion], alice: User) -> None:
    search = searched(alice, sample_set(alice, 1))
    assert (search.state, search.samples_done) == (SearchState.FINISHED, 1)
    assert all(spans(candidate) == [(0, 1)] for candidate in search.candidates.all())


def test_fewer_samples_than_there_are(models: list[ModelVersion], shots: SampleSet, alice: User) -> None:
    search = searched(alice, shots, n_samples=50)
    assert (search.n_samples, search.samples_done) == (50, 50)
    assert all(spans(candidate) == [(0, 32), (32, 50)] for candidate in search.candidates.all())


def test_samples_deleted_in_mid_search(models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    search = search_start(owner=alice, sample_set=shots)
    job, folder = queued(search), shots.folder
    count_calls(monkeypatch, lambda runner, number: sampleset_delete(sample_set=shots, actor=alice) if number == 4 else None)
    job = work(job)
    assert job.state == JobState.CANCELLED
    assert not Search.objects.exists() and not PredictionChunk.objects.exists() and not SampleSet.objects.exists()
    assert not folder.exists()


def test_stopped_in_mid_search_and_taken_up_again(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = board(searched(alice, shots))
    search = search_start(owner=alice, sample_set=shots)
    job = queued(search)

    def stop(runner: Runner, number: int) -> None:
        if number == 5:
            job_cancel(job=job)
            time.sleep(1.5)  # the keeper looks once a second

    with monkeypatch.context() as patch:
        calls = count_calls(patch, stop)
        assert work(job).state == JobState.CANCELLED
    assert len(calls) == 5
    search.refresh_from_db()
    assert (search.state, search.samples_done) == (SearchState.STOPPED, 32)
    assert set(search.candidates.values_list("state", flat=True)) == {CandidateState.STOPPED}
    assert all(candidate.predicted is not None for candidate in search.candidates.all()), "the partial board is kept"
    again: Any = job_retry(job=job)
    assert again.pk != job.pk
    states: list[set[str]] = []
    with monkeypatch.context() as patch:
        count_calls(patch, lambda runner, number: states.append(set(search.candidates.values_list("state", flat=True))))
        assert work(again).state == JobState.SUCCEEDED
    assert states and all(CandidateState.STOPPED not in seen for seen in states), "a row that is worked on does not say stopped"
    search.refresh_from_db()
    assert board(search) == expected
    assert all(spans(candidate) == GRID for candidate in search.candidates.all())


def test_a_row_is_not_retried_while_the_search_runs(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has begun does not take a row back in; without the refusal the row would end as finished without a result."""
    search = search_start(owner=alice, sample_set=shots)
    told: list[str] = []

    def disturb(runner: Runner, number: int) -> None:
        if number == 2:
            kill_child(runner)
        failed = search.candidates.filter(state=CandidateState.FAILED).first()
        if failed is not None and not told:
            with pytest.raises(CannotSearch) as refused:
                candidate_retry(candidate=failed, actor=alice)
            told.append(refused.value.fix)

    with monkeypatch.context() as patch:
        count_calls(patch, disturb)
        assert work(queued(search)).state == JobState.SUCCEEDED
    assert told and "ended" in told[0]
    assert search.candidates.filter(state=CandidateState.FAILED).count() == 1
    assert Job.objects.filter(kind="search.run").count() == 1


def test_a_failed_search_that_is_taken_up_again_shows_no_old_error(models: list[ModelVersion], shots: SampleSet, alice: User) -> None:
    search = search_start(owner=alice, sample_set=shots)
    batch = shots.batch_path.read_bytes()
    shots.batch_path.unlink()
    job = work(queued(search))
    search.refresh_from_db()
    assert (job.state, search.state) == (JobState.FAILED, SearchState.FAILED)
    assert search.error_title == "The samples are gone." and search.finished
    shots.batch_path.write_bytes(batch)
    assert work(job_retry(job=job)).state == JobState.SUCCEEDED
    search.refresh_from_db()
    assert (search.state, search.error_title, search.error_fix) == (SearchState.FINISHED, "", "")


def test_what_lies_behind_a_gap_counts_for_nothing(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are known from the first sample on: a chunk without those before it would stand in the wrong place."""
    monkeypatch.setattr(settings, "SEARCH_EXECUTION", "loop")
    search = search_start(owner=alice, sample_set=shots)
    first, second = search.candidates.order_by("pk")[:2]
    rows = np.zeros((32, len(search.labels)), "<f2").tobytes()
    for candidate, start in ((first, 32), (second, 0), (second, 32), (second, 96)):
        PredictionChunk.objects.create(candidate=candidate, start=start, stop=start + 32, log_probs=rows, seconds=0.1)
    run = SearchRun(None, search, None, None)  # type: ignore[arg-type]  # nothing runs
    known = {row.pk: (row.samples_done, view.log_probs) for row, view in zip(run.candidates, run.views, strict=True)}
    assert known[first.pk] == (0, None)
    done, kept = known[second.pk]
    assert done == 64 and kept is not None and kept.shape == (64, len(search.labels))
