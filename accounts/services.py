"""Writes over several account rows."""

from __future__ import annotations

from django.db import transaction
from django.utils.text import slugify

from accounts.models import Membership, Role, Team, User, audit


@transaction.atomic
def personal_team_create(*, user: User) -> Team:
    """The team a person publishes to when they are in no other; its slug is their name, made unique."""
    existing = Team.objects.filter(personal_of=user).first()
    if existing:
        return existing
    base = slugify(user.get_username()) or f"user-{user.pk}"
    slug, number = base, 2
    while Team.objects.filter(slug=slug).exists():
        slug, number = f"{base}-{number}", number + 1
    team = Team.objects.create(slug=slug, name=user.get_full_name() or user.get_username(), personal_of=user)
    Membership.objects.create(user=user, team=team, role=Role.ADMIN)
    return team


@transaction.atomic
def team_create(*, name: str, slug: str, actor: User) -> Team:
    team = Team.objects.create(name=name, slug=slug)
    Membership.objects.create(user=actor, team=team, role=Role.ADMIN)
    audit("team.create", team, actor=actor, team=team, after={"name": name, "slug": slug})
    return team


@transaction.atomic
def membership_set(*, team: Team, user: User, role: str | None, actor: User) -> None:
    """Give, change or (role None) take away a membership. The last admin of a team cannot leave it."""
    current = Membership.objects.select_for_update().filter(team=team, user=user).first()
    before = {"user": user.get_username(), "role": current.role if current else None}
    if current and current.role == Role.ADMIN and role != Role.ADMIN:
        others = Membership.objects.select_for_update().filter(team=team, role=Role.ADMIN).exclude(pk=current.pk)
        if not others.exists():
            raise LastAdmin(team)
    if role is None:
        if current:
            current.delete()
    else:
        Membership.objects.update_or_create(team=team, user=user, defaults={"role": role})
    audit("membership.set", team, actor=actor, team=team, before=before, after={"user": user.get_username(), "role": role})


class LastAdmin(Exception):
    """A team must keep at least one admin."""

    def __init__(self, team: Team) -> None:
        super().__init__(f"{team} would have no admin. Make somebody else admin first.")
