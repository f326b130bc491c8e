"""Starting, stopping, repeating, retrying and sharing a search."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.models import AuditEvent, Team, User
from catalog.models import ModelVersion
from gpuworker.core.errors import UserError
from jobs.models import Job, JobState
from search.access import search_for_user
from search.constraints import Constraints
from search.models import CandidateState, PredictionChunk, SampleSet, SampleSetState, Search, SearchState
from search.services import (
    DEFAULT_SCORERS,
    CannotSearch,
    candidate_retry,
    search_end,
    search_job,
    search_rerun,
    search_share,
    search_start,
    search_stop,
)
from tests.search.factories import LABELS, fail, make_version

pytestmark = pytest.mark.django_db


def kinds(search: Search) -> list[str]:
    return list(search.events.order_by("seq").values_list("kind", flat=True))


def running(search: Search) -> Job:
    """As if a worker had claimed it."""
    job = search_job(search)
    assert job is not None
    Search.objects.filter(pk=search.pk).update(state=SearchState.RUNNING)
    claimed = Job.claim(job.pk, job.attempt, "w:1")
    assert claimed is not None
    return claimed


@pytest.fixture
def started(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> Search:
    return search_start(owner=alice, sample_set=samples)


def test_a_search_starts_with_rows_event_and_job(started: Search, alice: User, versions: list[ModelVersion]) -> None:
    assert (started.state, started.n_samples, started.scorers) == (SearchState.QUEUED, 60, list(DEFAULT_SCORERS))
    assert sorted(started.labels) == sorted(LABELS)
    assert set(started.candidates.values_list("version", flat=True)) == {version.pk for version in versions}
    assert list(started.candidates.order_by().values_list("state", "updated_seq").distinct()) == [(CandidateState.QUEUED, 1)]
    assert kinds(started) == ["queued"]
    job = search_job(started)
    assert job is not None and (job.state, job.owner, job.url) == (JobState.QUEUED, alice, started.get_absolute_url())


@pytest.mark.parametrize("state", [SampleSetState.CHECKING, SampleSetState.FAILED, SampleSetState.DELETED])
def test_not_without_samples(alice: User, samples: SampleSet, versions: list[ModelVersion], state: str) -> None:
    samples.state = state
    with pytest.raises(CannotSearch, match="not ready"):
        search_start(owner=alice, sample_set=samples)


def test_not_without_models_and_with_the_reasons(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    with pytest.raises(CannotSearch) as refused:
        search_start(owner=alice, sample_set=samples, constraints=Constraints(licences=("BSD",)))
    assert "licence" in refused.value.detail and "3" in refused.value.detail and refused.value.fix
    assert not Search.objects.exists() and not Job.objects.exists()


def test_not_with_an_unknown_scorer(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    with pytest.raises(CannotSearch, match="scorer") as refused:
        search_start(owner=alice, sample_set=samples, scorers=["dawid_skene", "gut_feeling"])
    assert "gut_feeling" in refused.value.detail and "dawid_skene" in refused.value.fix


@pytest.mark.parametrize(("asked", "limit", "n"), [(None, 10000, 60), (20, 10000, 20), (500, 10000, 60), (None, 10, 10), (40, 10, 10)])
def test_how_many_samples(
    alice: User, samples: SampleSet, versions: list[ModelVersion], monkeypatch: pytest.MonkeyPatch, asked: int | None, limit: int, n: int
) -> None:
    monkeypatch.setattr(settings, "SEARCH_MAX_SAMPLES", limit)
    assert search_start(owner=alice, sample_set=samples, n_samples=asked).n_samples == n


def test_a_queued_search_stops_at_once(started: Search, alice: User) -> None:
    search_stop(search=started, actor=alice)
    started.refresh_from_db()
    job = search_job(started)
    assert job is not None and job.state == JobState.CANCELLED
    assert (started.state, kinds(started)[-1]) == (SearchState.STOPPED, "stopped")
    assert set(started.candidates.values_list("state", flat=True)) == {CandidateState.STOPPED}
    assert AuditEvent.objects.filter(action="search.stop", object_id=started.pk, actor=alice).count() == 1


def test_a_running_search_is_asked_to_stop(started: Search, alice: User) -> None:
    job = running(started)
    search_stop(search=started, actor=alice)
    job.refresh_from_db()
    started.refresh_from_db()
    assert (job.state, job.cancel_requested, started.state) == (JobState.RUNNING, True, SearchState.RUNNING)


def test_stopping_what_has_ended_does_nothing(finished: Search, alice: User) -> None:
    search_stop(search=finished, actor=alice)
    finished.refresh_from_db()
    assert (finished.state, kinds(finished)) == (SearchState.FINISHED, ["queued", "finished"])


@pytest.mark.parametrize(
    ("state", "error", "kind", "rows"),
    [
        (SearchState.FINISHED, None, "finished", CandidateState.FINISHED),
        (SearchState.STOPPED, None, "stopped", CandidateState.STOPPED),
        (SearchState.FAILED, UserError("It broke.", detail="Here.", fix="So."), "failed", CandidateState.STOPPED),
    ],
    ids=["finished", "stopped", "failed"],
)
def test_each_end(started: Search, state: SearchState, error: UserError | None, kind: str, rows: str) -> None:
    broken = started.candidates.order_by("pk")[0]
    fail(broken)
    search_end(search=started, state=state, kind_by="alice", error=error)
    started.refresh_from_db()
    assert (started.state, kinds(started)[-1]) == (state, kind) and started.finished
    assert set(started.candidates.exclude(pk=broken.pk).values_list("state", flat=True)) == {rows}
    broken.refresh_from_db()
    assert broken.state == CandidateState.FAILED, "an ended row keeps its state"
    assert broken.updated_seq == started.last_seq, "but is told anew: from now on it can be tried again"
    assert (started.error_title, started.error_fix) == (("It broke.", "So.") if error else ("", ""))


def test_a_rerun_asks_the_same_of_the_models_of_today(finished: Search, alice: User, team: Team) -> None:
    make_version(alice, team, "newcomer")
    finished.scorers = ["dawid_skene", "of_an_older_version"]
    finished.save()
    again = search_rerun(search=finished, actor=alice)
    assert (again.rerun_of, again.name, again.n_samples, again.scorers) == (finished, finished.name, finished.n_samples, ["dawid_skene"])
    assert again.candidates.filter(version__model__name="newcomer").exists()
    assert again.constraints["label_key"] == finished.constraints["label_key"]


def test_a_failed_row_is_tried_again_and_keeps_what_it_has(finished: Search, alice: User) -> None:
    row = finished.candidates.order_by("pk")[1]
    fail(row)
    chunks = row.chunks.count()
    candidate_retry(candidate=row, actor=alice)
    row.refresh_from_db()
    finished.refresh_from_db()
    assert (row.state, row.error_title, row.chunks.count()) == (CandidateState.QUEUED, "", chunks)
    assert (finished.state, finished.finished, kinds(finished)[-1]) == (SearchState.QUEUED, None, "candidate_retried")
    assert row.updated_seq == finished.last_seq
    job = search_job(finished)
    assert job is not None and job.is_live


def test_a_row_that_did_not_fail_is_left_alone(finished: Search, alice: User) -> None:
    candidate_retry(candidate=finished.candidates.order_by("pk")[0], actor=alice)
    finished.refresh_from_db()
    assert (finished.state, kinds(finished)[-1], search_job(finished)) == (SearchState.FINISHED, "finished", None)


@pytest.mark.parametrize("state", [SearchState.QUEUED, SearchState.RUNNING])
def test_no_row_is_retried_while_the_search_runs(finished: Search, alice: User, state: str) -> None:
    row = finished.candidates.order_by("pk")[1]
    fail(row)
    Search.objects.filter(pk=finished.pk).update(state=state)
    with pytest.raises(CannotSearch, match="still running"):
        candidate_retry(candidate=row, actor=alice)
    row.refresh_from_db()
    assert row.state == CandidateState.FAILED


def test_sharing_lets_a_team_look_and_is_written_down(finished: Search, alice: User, bob: User, team: Team) -> None:
    search_share(search=finished, team=team, actor=alice)
    assert search_for_user(bob, finished.pk) == finished
    search_share(search=finished, team=None, actor=alice)
    events = AuditEvent.objects.filter(action="search.share", object_id=finished.pk).order_by("pk")
    assert [event.after["shared_with"] for event in events] == ["vision", None]


def test_no_sample_is_scored_twice(finished: Search) -> None:
    """The last line of defence is the database's."""
    row = finished.candidates.order_by("pk")[0]
    with pytest.raises(IntegrityError), transaction.atomic():
        PredictionChunk.objects.create(candidate=row, start=0, stop=32, log_probs=b"")


def test_one_candidacy_a_version(finished: Search, versions: list[ModelVersion]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        finished.candidates.create(version=versions[0])
