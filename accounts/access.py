"""The only way to fetch a team by its slug."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404

from accounts.models import AuditEvent, Role, Team, User


def team_for_user(user: User | AnonymousUser, slug: str, *, role: str = Role.VIEWER) -> Team:
    """The team, if this person may do there what `role` may.

    Outsiders get 404, whether the team exists or not; members whose role is too low get 403, since they know that it exists.
    """
    if not isinstance(user, User):
        raise Http404
    if user.is_superuser:
        team = Team.objects.filter(slug=slug).first()
        if team is None:
            raise Http404
        return team
    membership = user.memberships.select_related("team").filter(team__slug=slug).first()
    if membership is None:
        raise Http404
    if membership.role not in Role.at_least(role):
        raise PermissionDenied(f"This needs the role {Role(role).label} in {membership.team}; yours is {Role(membership.role).label}.")
    return membership.team


def audit_for_user(user: User) -> QuerySet[AuditEvent]:
    """Staff see every event, team admins those of their teams, everybody else none."""
    events = AuditEvent.objects.select_related("team").order_by("-id")
    if user.is_staff:
        return events
    return events.filter(team__in=user.teams_with_role(Role.ADMIN))
