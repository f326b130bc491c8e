"""Writes over several rows of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.models import Team, User, audit
from gpuworker.core.errors import UserError
from gpuworker.core.specs import DROP_LEVEL, SCORERS
from jobs.models import LIVE, Job
from jobs.services import job_cancel, job_start
from search.constraints import Constraints
from search.costs import samples_used
from search.dispatch import SEARCH_RUN
from search.events import event_add
from search.metrics import metric_document
from search.models import Candidate, CandidateState, SampleSet, SampleSetState, Search, SearchState
from search.selection import TOO_LARGE, select


class CannotSearch(UserError):
    """The search cannot start; says what is missing."""

    code = "cannot_search"


DEFAULT_SCORERS = tuple(key for key, spec in SCORERS.items() if spec.default)


@transaction.atomic
def search_start(
    *,
    owner: User,
    sample_set: SampleSet,
    name: str = "",
    constraints: Constraints | None = None,
    scorers: Sequence[str] = DEFAULT_SCORERS,
    n_samples: int | None = None,
    metric: Mapping[str, Any] = MappingProxyType({}),
    drop_level: float | None = DROP_LEVEL,
    rerun_of: Search | None = None,
) -> Search:
    """Choose the candidates, write the rows and queue the run. Raises CannotSearch when nothing would run.

    metric: as `search.metrics.metric_of` reads it, {} for accuracy. drop_level: None lets all candidates run to the end.
    """
    if sample_set.state != SampleSetState.READY:
        raise CannotSearch(
            "The sample set is not ready.",
            detail=f"It is: {sample_set.get_state_display()}.",
            fix="Wait for its check to end, or mend what it names.",
        )
    unknown = [key for key in scorers if key not in SCORERS]
    if unknown:
        raise CannotSearch("Unknown scorer.", detail=", ".join(unknown), fix=f"Known are: {', '.join(SCORERS)}.")
    constraints = constraints or Constraints()
    selection = select(owner, sample_set, constraints)
    if not selection.chosen:
        reasons = "; ".join(f"{item.sentence.lower()}: {item.count}" for item in selection.excluded)
        too_large = any(item.key == TOO_LARGE for item in selection.excluded) and not any(item.relax for item in selection.excluded)
        raise CannotSearch(
            "No model can be a candidate.",
            detail=reasons or "The catalog has no published model you may see.",
            fix="Ask the operator to give models more memory (SANDBOX_MEMORY_MB), or publish a smaller one."
            if too_large
            else "Relax the constraint that excludes most, or publish a model.",
        )
    try:
        wanted = metric_document(metric, selection.labels)
    except ValueError as error:
        raise CannotSearch(
            "The metric does not fit the labels.", detail=str(error), fix="Choose another metric, or mend what it names."
        ) from error
    search = Search.objects.create(
        owner=owner,
        sample_set=sample_set,
        rerun_of=rerun_of,
        name=(name.strip() or sample_set.name)[:140],
        constraints=Constraints.to_json(constraints) | {"label_key": selection.label_key},
        labels=list(selection.labels),
        scorers=list(scorers),
        metric=wanted,
        drop_level=drop_level,
        n_samples=samples_used(sample_set, n_samples),
        excluded=[item.to_json() for item in selection.excluded],
        stage="Waiting for a worker",
    )
    Candidate.objects.bulk_create(
        Candidate(search=search, version=version, position=place) for place, version in enumerate(selection.chosen)
    )
    rows = list(search.candidates.values_list("pk", flat=True))
    event_add(search, "queued", {"by": owner.get_username(), "candidates": len(rows)}, rows=rows)
    job_start(kind=SEARCH_RUN, subject_id=search.pk, label=search.name, owner=owner, url=search.get_absolute_url())
    return search


def search_job(search: Search) -> Job | None:
    """The latest job of the search."""
    return Job.objects.filter(kind=SEARCH_RUN, subject_id=search.pk).order_by("-pk").first()


@transaction.atomic
def search_stop(*, search: Search, actor: User) -> None:
    """End early and keep the partial result. A queued search ends at once, a running one at its next check."""
    job = Job.objects.select_for_update().filter(kind=SEARCH_RUN, subject_id=search.pk, state__in=LIVE).first()
    if job is None:
        return
    audit("search.stop", search, actor=actor)
    job_cancel(job=job)
    job.refresh_from_db()
    if job.state not in LIVE:
        search_end(search=search, state=SearchState.STOPPED, kind_by=actor.get_username())


def search_end(*, search: Search, state: SearchState, kind_by: str = "", error: UserError | None = None) -> None:
    """Final state of a search and of its unfinished rows, with the event that tells it. Runs in the caller's transaction.

    Failed rows are sent as well: from now on they can be tried again.
    """
    open_rows = search.candidates.filter(state__in=[CandidateState.QUEUED, CandidateState.RUNNING])
    failed = search.candidates.filter(state=CandidateState.FAILED)
    changed = [*open_rows.values_list("pk", flat=True), *failed.values_list("pk", flat=True)]
    open_rows.update(state=CandidateState.FINISHED if state == SearchState.FINISHED else CandidateState.STOPPED)
    fields = {"state": state, "finished": timezone.now(), "stage": state.label}
    if error is not None:
        fields |= {"error_title": error.title[:300], "error_detail": error.detail, "error_fix": error.fix}
        event_add(search, "failed", {"title": error.title, "detail": error.detail, "fix": error.fix}, rows=changed, fields=fields)
    elif state == SearchState.STOPPED:
        event_add(search, "stopped", {"by": kind_by}, rows=changed, fields=fields)
    else:
        event_add(search, "finished", {"verdict": search.verdict}, rows=changed, fields=fields)


@transaction.atomic
def search_rerun(*, search: Search, actor: User) -> Search:
    """The same question again, with the models of today. The new board shows its difference to the old one."""
    return search_start(
        owner=actor,
        sample_set=search.sample_set,
        name=search.name,
        constraints=Constraints.from_json(search.constraints),
        scorers=[key for key in search.scorers if key in SCORERS],
        n_samples=search.n_samples,
        metric=search.metric,
        drop_level=search.drop_level,
        rerun_of=search,
    )


@transaction.atomic
def candidate_retry(*, candidate: Candidate, actor: User) -> None:
    """Try a failed row again; what the others have is kept, and what this one has too. Raises CannotSearch while the search runs."""
    search = Search.objects.select_for_update(of=["self"]).get(pk=candidate.search_id)
    if search.is_live:
        raise CannotSearch(
            "The search is still running.",
            detail="A run that has begun does not take a row back in.",
            fix="Try the row again once it has ended.",
        )
    done = Candidate.objects.filter(pk=candidate.pk, state=CandidateState.FAILED).update(
        state=CandidateState.QUEUED, error_title="", error_detail="", error_fix=""
    )
    if not done:
        return
    event_add(
        search,
        "candidate_retried",
        {"by": actor.get_username(), "candidate": candidate.pk},
        rows=[candidate.pk],
        fields={
            "state": SearchState.QUEUED,
            "stage": "Waiting for a worker",
            "finished": None,
            "error_title": "",
            "error_detail": "",
            "error_fix": "",
        },
    )
    job_start(kind=SEARCH_RUN, subject_id=search.pk, label=search.name, owner=search.owner, url=search.get_absolute_url())


@transaction.atomic
def search_share(*, search: Search, team: Team | None, actor: User) -> None:
    """Let a team look at the board (not change it), or take that back."""
    before = {"shared_with": search.shared_with.slug if search.shared_with else None}
    search.shared_with = team
    search.save(update_fields=["shared_with"])
    audit("search.share", search, actor=actor, team=team, before=before, after={"shared_with": team.slug if team else None})
