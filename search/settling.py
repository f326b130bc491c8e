"""Rows whose job ended without them: the worker died for the last time, or the sweeper cancelled the job. They end visibly too."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from catalog.dispatch import VERSION_CHECK
from catalog.models import ModelVersion, VersionState
from catalog.services import version_check_reject
from gpuworker.core.errors import UserError
from jobs.models import LIVE, Job, JobState
from search.dispatch import SAMPLESET_CHECK, SEARCH_RUN
from search.models import SampleSet, SampleSetState, Search, SearchState
from search.services import search_end


def subjects_settle() -> int:
    """Give searches, sample sets and versions the end of their last job; returns how many."""
    count = 0
    for search in _orphans(Search.objects.filter(state__in=[SearchState.QUEUED, SearchState.RUNNING]), SEARCH_RUN):
        with transaction.atomic():
            locked = Search.objects.select_for_update(of=["self"]).get(pk=search.pk)
            error = _cause(SEARCH_RUN, search.pk)
            if locked.is_live and error is None:
                search_end(search=locked, state=SearchState.STOPPED, kind_by=locked.owner.get_username())
            elif locked.is_live:
                search_end(search=locked, state=SearchState.FAILED, error=error)
        count += 1
    for sample_set in _orphans(SampleSet.objects.filter(state=SampleSetState.CHECKING), SAMPLESET_CHECK):
        error = _cause(SAMPLESET_CHECK, sample_set.pk) or STOPPED
        SampleSet.objects.filter(pk=sample_set.pk, state=SampleSetState.CHECKING).update(
            state=SampleSetState.FAILED, error_title=error.title, error_detail=error.detail, error_fix=error.fix
        )
        count += 1
    for version in _orphans(ModelVersion.objects.filter(state=VersionState.CHECKING), VERSION_CHECK):
        with transaction.atomic():
            current = ModelVersion.objects.select_for_update().get(pk=version.pk)
            if current.state == VersionState.CHECKING:
                version_check_reject(version=current, error=_cause(VERSION_CHECK, version.pk) or STOPPED)
        count += 1
    return count


STOPPED = UserError("The check was stopped.", fix="Start it again.")


def _orphans(rows: QuerySet, kind: str) -> QuerySet:  # type: ignore[type-arg]
    """Rows that had a job of this kind and have no live one."""
    jobs = Job.objects.filter(kind=kind, subject_id=OuterRef("pk"))
    return rows.filter(Exists(jobs)).exclude(Exists(jobs.filter(state__in=LIVE)))


def _cause(kind: str, subject_id: int) -> UserError | None:
    """What the last job ended with; None when it was cancelled."""
    job = Job.objects.filter(kind=kind, subject_id=subject_id).order_by("-pk").first()
    if job is None or job.state in (JobState.CANCELLED, JobState.SUCCEEDED):
        return None
    return UserError(job.error_title or "The job ended without a result.", detail=job.error_detail, fix=job.error_fix or "Try again.")
