"""The only way to fetch a model or version for a person. What one may not see does not exist: Http404 for both."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.db.models import Exists, OuterRef, Q
from django.http import Http404

from accounts.models import Role, Team, User
from catalog.models import ModelVersion, ModelVersionQuerySet, RegisteredModel, VersionFile, VersionState
from catalog.probe_detail import ProbeSetDetail, probe_set_detail
from catalog.probe_models import ProbeSlice

Person = User | AnonymousUser


def model_for_user(user: Person, team_slug: str, name: str, *, edit: bool = False, deleted: bool = False) -> RegisteredModel:
    """A model this person may see, or (edit) change. deleted: look among the deleted ones they could change."""
    if not isinstance(user, User):
        raise Http404("No such model.")
    everything = RegisteredModel.objects.select_related("team", "owner", "published_version")
    if deleted:
        found = everything.filter(pk__in=RegisteredModel.objects.deleted_of(user))
    elif edit:
        found = everything.filter(pk__in=RegisteredModel.objects.editable_by(user))
    else:
        found = everything.filter(pk__in=RegisteredModel.objects.visible_to(user))
    model = found.defer("published_version__program", "published_version__spec").filter(team__slug=team_slug, name=name).first()
    if model is None:
        raise Http404("No such model.")
    return model


def version_for_user(user: Person, team_slug: str, name: str, number: int, *, edit: bool = False) -> ModelVersion:
    """A version this person may see: published and archived ones with the model, the others as `versions_for_user` says."""
    model = model_for_user(user, team_slug, name, edit=edit)
    assert isinstance(user, User)
    version = versions_for_user(user, model).filter(number=number).first()
    if version is None:
        raise Http404("No such version.")
    version.model = model
    return version


def versions_for_user(user: User, model: RegisteredModel) -> ModelVersionQuerySet:
    """Members of the team see every version; everybody else only those that were published."""
    versions = model.versions.defer("program").select_related("created_by")
    if user.is_superuser or model.owner_id == user.pk or model.team.memberships.filter(user=user).exists():
        return versions
    return versions.filter(state__in=(VersionState.PUBLISHED, VersionState.ARCHIVED), published__isnull=False)


def review_for_user(user: Person, team_slug: str, name: str, number: int) -> ModelVersion:
    """A version whose review this person may give: waiting, in a team they curate."""
    if not isinstance(user, User):
        raise Http404("No such version.")
    found = ModelVersion.objects.in_queue_of(user).select_related("model__team", "created_by")
    version = found.filter(model__team__slug=team_slug, model__name=name, number=number).first()
    if version is None:
        raise Http404("No such version.")
    return version


def labelled_slice_for_user(user: Person, team_slug: str, key: str, pk: int) -> ProbeSlice:
    """Labelled samples in a team's probe set that this person may take back."""
    piece = None
    if isinstance(user, User):
        given = ProbeSlice.objects.withdrawable_by(user).filter(team__slug=team_slug, set_key=key)
        piece = given.lean().filter(pk=pk).first()
    if piece is None:
        raise Http404("No such labelled samples.")
    return piece


def has_curating(user: User) -> bool:
    """Whether the review queue is worth a place in this person's navigation: they curate a team that is not only theirs, or
    something waits in it. Everybody is admin of their personal team, and most never review anything there. One query.
    """
    if user.is_superuser:
        return True
    waiting = ModelVersion.objects.waiting().filter(model__team=OuterRef("pk"))
    return user.teams_with_role(Role.CURATOR).filter(~Q(personal_of=user) | Exists(waiting)).exists()


def file_for_user(user: Person, team_slug: str, name: str, number: int, file_id: int) -> VersionFile:
    version = version_for_user(user, team_slug, name, number)
    file = version.files.filter(pk=file_id).first()
    if file is None:
        raise Http404("No such file.")
    return file


def team_for_publisher(user: Person, slug: str) -> Team:
    """A team in which this person may publish."""
    team = user.teams_with_role(Role.PUBLISHER).filter(slug=slug).first() if isinstance(user, User) else None
    if team is None:
        raise Http404("No such team, or you may not publish there.")
    return team


def probe_set_for_user(user: Person, team_slug: str, key: str) -> ProbeSetDetail:
    """A probe set of a team of theirs, or of a team that lets everybody search with its probes."""
    team = Team.objects.filter(slug=team_slug).first()
    detail = probe_set_detail(user, team, key) if isinstance(user, User) and team is not None else None
    if detail is None:
        raise Http404("No such probe set.")
    return detail
