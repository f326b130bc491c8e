"""What stands above a live board: how far it is, who works on it, and why nobody does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.template.loader import render_to_string
from django.utils import timezone

from accounts.models import User
from catalog.models import ModelVersion
from jobs.models import Job, JobState
from search.board import eta_seconds, header_context, share_done
from search.dispatch import SEARCH_RUN
from search.models import SampleSet, Search, SearchState
from tests.search.factories import make_search
from tests.search.test_pages import words


@pytest.fixture
def search(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> Search:
    return make_search(alice, samples, versions, state=SearchState.RUNNING, stage="Running candidates")


def job(search: Search, state: str, worker: str = "", lease: float = 20) -> Job:
    until = timezone.now() + timedelta(seconds=lease)
    return Job.objects.create(kind=SEARCH_RUN, subject_id=search.pk, label="x", state=state, worker=worker, lease_until=until)


def shown(search: Search) -> str:
    return words(render_to_string("search/_board_header.html", header_context(search)))


def test_the_worker_is_named_and_its_silence_too(search: Search) -> None:
    held = job(search, JobState.RUNNING, "gpu-7")
    assert "Worker gpu-7" in shown(search) and "does not answer" not in shown(search)
    Job.objects.filter(pk=held.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert "Worker gpu-7 does not answer; another takes over where it stood" in shown(search)


def test_without_a_worker_it_says_why(search: Search) -> None:
    job(search, JobState.QUEUED)
    search.state, search.verdict = SearchState.QUEUED, {}
    header = shown(search)
    assert "Waiting to start. It is next. No worker is running; it starts when one does." in header
    assert "Worker none yet" not in header, "said above already"
    assert "Time left" not in header
    # Lost in the middle: the search runs on paper only.
    search.state, search.verdict = SearchState.RUNNING, {"kind": "tie", "sentence": "2 of 3 lead."}
    assert "Worker none yet It is next. No worker is running" in shown(search)


def test_what_has_ended_has_no_worker(search: Search) -> None:
    job(search, JobState.SUCCEEDED, "gpu-7")
    search.state = SearchState.FINISHED
    header = shown(search)
    assert "Worker" not in header and "Time left" not in header


def test_progress_counts_what_is_planned(search: Search) -> None:
    job(search, JobState.RUNNING, "gpu-7")
    first, second, third = search.candidates.order_by("position")
    search.candidates.filter(pk=first.pk).update(state="finished", samples_done=60, seconds=6.0)
    search.candidates.filter(pk=second.pk).update(state="running", samples_done=30, seconds=9.0)
    search.candidates.filter(pk=third.pk).update(state="failed", samples_done=10, seconds=1.0)
    search.compute_seconds = 16.0
    header = shown(search)
    assert "1 running, 1 finished, 1 failed" in header
    assert "Compute used 16 s 75 % of the work" in header
    assert "Time left 6 s – 14 s" in header


def test_time_left_is_a_range_at_each_rows_own_pace() -> None:
    rows = [("running", 10, 1.0), ("running", 10, 3.0), ("queued", 0, 0.0), ("failed", 5, 9.0), ("finished", 20, 4.0)]
    pace = (1.0 + 3.0 + 9.0 + 4.0) / 45
    expected = 10 * 0.1 + 10 * 0.3 + 20 * pace
    assert eta_seconds(rows, 20) == pytest.approx((expected * 0.7, expected * 1.5))
    assert eta_seconds([("queued", 0, 0.0)], 20) is None
    assert eta_seconds([("finished", 20, 4.0)], 20) is None
    assert share_done([("failed", 5, 9.0)], 20) is None
