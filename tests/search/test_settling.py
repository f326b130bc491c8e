"""A job that ended without its subject's row: searches, sample sets and versions end visibly too."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Team, User
from catalog.dispatch import VERSION_CHECK
from catalog.models import ModelVersion, VersionState
from jobs.models import Job, JobState
from jobs.services import job_sweep
from search.dispatch import SAMPLESET_CHECK, SEARCH_RUN
from search.models import CandidateState, SampleSet, SampleSetState, Search, SearchState
from search.settling import subjects_settle
from tests.search.factories import make_sampleset, make_search, make_version

pytestmark = pytest.mark.django_db


def job(kind: str, subject: int, state: str, **more: object) -> Job:
    lease = timezone.now() - timedelta(seconds=1)
    return Job.objects.create(kind=kind, subject_id=subject, label="x", state=state, lease_until=lease, **more)


@pytest.fixture
def search(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> Search:
    return make_search(alice, samples, versions, state=SearchState.RUNNING)


def test_a_search_whose_worker_died_for_the_last_time(search: Search) -> None:
    """From the sweep to the row, as the sweeper does it."""
    job(SEARCH_RUN, search.pk, JobState.RUNNING, attempt=99, deaths=99, worker="w:1")
    assert job_sweep() == []
    assert subjects_settle() == 1
    search.refresh_from_db()
    assert search.state == SearchState.FAILED
    assert "worker died" in search.error_title and "100 workers died" in search.error_detail and search.error_fix
    assert set(search.candidates.values_list("state", flat=True)) == {CandidateState.STOPPED}
    assert search.events.order_by("seq").last().kind == "failed"
    assert subjects_settle() == 0, "once"


def test_a_search_that_was_to_stop_when_its_worker_died(search: Search) -> None:
    job(SEARCH_RUN, search.pk, JobState.RUNNING, cancel_requested=True, worker="w:1")
    job_sweep()
    assert subjects_settle() == 1
    search.refresh_from_db()
    assert (search.state, search.error_title) == (SearchState.STOPPED, "")
    assert search.events.order_by("seq").last().payload == {"by": "alice"}


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_what_has_a_live_job_is_left_alone(search: Search, state: str) -> None:
    job(SEARCH_RUN, search.pk, JobState.ERRORED)
    job(SEARCH_RUN, search.pk, state)
    assert subjects_settle() == 0
    search.refresh_from_db()
    assert search.state == SearchState.RUNNING


def test_what_never_had_a_job_is_left_alone(search: Search) -> None:
    """Its transaction may not have committed the job yet."""
    assert subjects_settle() == 0


@pytest.mark.parametrize("state", [SearchState.FINISHED, SearchState.STOPPED, SearchState.FAILED])
def test_what_has_ended_stays_as_it_is(search: Search, state: str) -> None:
    Search.objects.filter(pk=search.pk).update(state=state)
    job(SEARCH_RUN, search.pk, JobState.ERRORED)
    assert subjects_settle() == 0


@pytest.mark.parametrize(("state", "said"), [(JobState.ERRORED, "Out of memory."), (JobState.CANCELLED, "stopped")])
def test_a_sample_set(alice: User, state: str, said: str) -> None:
    made = make_sampleset(alice, state=SampleSetState.CHECKING)
    job(SAMPLESET_CHECK, made.pk, state, error_title="Out of memory.", error_fix="Fewer files.")
    assert subjects_settle() == 1
    made.refresh_from_db()
    assert made.state == SampleSetState.FAILED and said in made.error_title and made.error_fix


def test_a_version(alice: User, team: Team) -> None:
    version = make_version(alice, team)
    ModelVersion.objects.filter(pk=version.pk).update(state=VersionState.CHECKING)
    job(VERSION_CHECK, version.pk, JobState.ERRORED, error_title="The worker died every time it tried this.", error_fix="Smaller.")
    assert subjects_settle() == 1
    version.refresh_from_db()
    assert (version.state, version.error_fix) == (VersionState.REJECTED, "Smaller.") and "worker died" in version.error_title
