"""Submitting a version, deciding on it, and taking it out of searches."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import Role, User, audit
from catalog.errors import NotYours, WrongState
from catalog.models import ModelVersion, RegisteredModel, Review, VersionState
from catalog.services.models import model_refresh
from catalog.services.probes import probe_runs_start
from jobs.models import Job, JobState

OUTCOME = {"approve": "was approved and is published", "ask": "needs changes", "reject": "was rejected"}


def locked(version: ModelVersion) -> ModelVersion:
    """The row, held until commit, with its model and team."""
    return ModelVersion.objects.select_for_update(of=("self",)).select_related("model__team", "created_by").get(pk=version.pk)


@transaction.atomic
def version_submit(*, version: ModelVersion, actor: User | None, comment: str | None = None) -> ModelVersion:
    """ready -> in_review. comment: a new note to the curator; None keeps the old one."""
    version = locked(version)
    if version.state != VersionState.READY:
        raise WrongState(
            "Only a checked version can go into review.",
            detail=f"{version} is {version.get_state_display().lower()}.",
            fix="Wait for the checks, or mend what they found.",
        )
    version.state = VersionState.IN_REVIEW
    version.comment = version.comment if comment is None else comment
    version.save(update_fields=["state", "comment"])
    audit(
        "version.submit",
        version,
        actor=actor,
        team=version.model.team,
        before={"state": VersionState.READY},
        after={"state": version.state},
    )
    return version


def may_review(user: User, version: ModelVersion) -> bool:
    """A curator of the team. One's own version only as a superuser or as an admin of one's personal team."""
    if user.is_superuser:
        return True
    team = version.model.team
    if not team.memberships.filter(user=user, role__in=Role.at_least(Role.CURATOR)).exists():
        return False
    return version.created_by_id != user.pk or team.personal_of_id == user.pk


@transaction.atomic
def review_decide(*, version: ModelVersion, decision: str, reason: str, actor: User) -> Review:
    """approve publishes; ask gives it back as checked; reject ends it. The author is told in the job list.

    Raises WrongState when it does not wait for a review, NotYours when the actor may not decide on it.
    """
    version = locked(version)
    if version.state != VersionState.IN_REVIEW:
        raise WrongState(
            "This version does not wait for a review.",
            detail=f"{version} is {version.get_state_display().lower()}.",
            fix="Reload the queue.",
        )
    if not may_review(actor, version):
        raise NotYours(
            "You cannot decide on your own version.", detail=f"{version} was published by you.", fix="Ask another curator of the team."
        )
    if decision != Review.Decision.APPROVE and not reason.strip():
        raise WrongState("A reason is needed.", fix="Say what the author should change or why it is rejected.")
    review = Review.objects.create(version=version, reviewer=actor, decision=decision, reason=reason.strip())
    if decision == Review.Decision.APPROVE:
        _publish(version)
    elif decision == Review.Decision.ASK:
        version.state = VersionState.READY
        version.save(update_fields=["state"])
    else:
        version.state = VersionState.REJECTED
        version.error_title, version.error_detail, version.error_fix = (
            "A curator rejected this version.",
            review.reason,
            "Publish a new version that answers the reason.",
        )
        version.save(update_fields=["state", "error_title", "error_detail", "error_fix"])
    after: dict[str, Any] = {
        "state": version.state,
        "decision": decision,
        "reason": review.reason,
        "own": version.created_by_id == actor.pk,
    }
    audit("review.decide", version, actor=actor, team=version.model.team, before={"state": VersionState.IN_REVIEW}, after=after)
    _tell_author(version, review)
    return review


def _publish(version: ModelVersion) -> None:
    version.state, version.published = VersionState.PUBLISHED, timezone.now()
    version.save(update_fields=["state", "published"])
    _set_published(version.model, version)


def _set_published(model: RegisteredModel, version: ModelVersion | None) -> None:
    model.published_version, model.updated = version, timezone.now()
    model.save(update_fields=["published_version", "updated"])
    model_refresh(model=model)
    if version is not None:
        probe_runs_start(slices=Q(modality=model.modality, label_key=version.label_key))


def _tell_author(version: ModelVersion, review: Review) -> None:
    """A finished entry in the author's job list, which shows on every page. Nothing is sent to a worker."""
    now = timezone.now()
    Job.objects.create(
        kind="catalog.review",
        subject_id=review.pk,
        label=f"{version} {OUTCOME[review.decision]}"[:200],
        url=version.get_absolute_url(),
        owner=version.created_by,
        state=JobState.SUCCEEDED,
        progress_text=review.reason[:200],
        lease_until=now,
        finished=now,
    )


@transaction.atomic
def version_archive(*, version: ModelVersion, actor: User) -> ModelVersion:
    """Out of searches and lists, keeping its evidence. If it was the published one, the newest other published version takes its place."""
    version = locked(version)
    if version.state in (VersionState.CHECKING, VersionState.ARCHIVED):
        raise WrongState(
            "This version cannot be archived now.",
            detail=f"{version} is {version.get_state_display().lower()}.",
            fix="Wait for its checks to end.",
        )
    before = version.state
    version.state = VersionState.ARCHIVED
    version.save(update_fields=["state"])
    version.aliases.all().delete()
    model = version.model
    if model.published_version_id == version.pk:
        _set_published(model, model.versions.filter(state=VersionState.PUBLISHED).order_by("-number").first())
    audit("version.archive", version, actor=actor, team=model.team, before={"state": before}, after={"state": version.state})
    return version
