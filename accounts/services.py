"""Writes over several account rows."""

from __future__ import annotations

from datetime import timedelta

from allauth.account.models import EmailAddress
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from accounts.models import ApiToken, Membership, Role, Team, User, audit
from gpuworker.core.errors import UserError


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


def email_is_taken(*, email: str, user: User) -> bool:
    """An e-mail signs in as well as a name does, so that it must be one person's."""
    return bool(email) and User.objects.filter(email__iexact=email).exclude(pk=user.pk).exists()


@transaction.atomic
def profile_save(*, user: User) -> User:
    """Save the person. Only the e-mail on the profile signs in and resets the password; one that stood there before no longer does."""
    user.save()
    known = EmailAddress.objects.filter(user=user)
    known.exclude(email__iexact=user.email).delete()
    if user.email and not known.exists():
        EmailAddress.objects.create(user=user, email=user.email.lower(), primary=True)
    return user


@transaction.atomic
def team_create(*, name: str, slug: str, actor: User) -> Team:
    team = Team.objects.create(name=name, slug=slug)
    Membership.objects.create(user=actor, team=team, role=Role.ADMIN)
    audit("team.create", team, actor=actor, team=team, after={"name": name, "slug": slug})
    return team


class LastAdmin(UserError):
    """A team must keep at least one admin."""

    code = "last_admin"

    def __init__(self, team: Team) -> None:
        super().__init__("A team needs an admin.", detail=f"{team} would have none.", fix="Make somebody else admin first.")


@transaction.atomic
def membership_set(*, team: Team, user: User, role: str | None, actor: User) -> None:
    """Give, change or (role None) take away a membership. The last admin of a team cannot leave it.

    The team's row is locked first: of two admins who step down at the same moment, one is told that nobody would be left.
    """
    Team.objects.select_for_update().get(pk=team.pk)
    current = Membership.objects.filter(team=team, user=user).first()
    held = current.role if current else None
    if held == role:
        return
    before = {"user": user.get_username(), "role": held}
    if held == Role.ADMIN and not Membership.objects.filter(team=team, role=Role.ADMIN).exclude(user=user).exists():
        raise LastAdmin(team)
    if role is None:
        Membership.objects.filter(team=team, user=user).delete()
    else:
        Membership.objects.update_or_create(team=team, user=user, defaults={"role": role})
    audit("membership.set", team, actor=actor, team=team, before=before, after={"user": user.get_username(), "role": role})


@transaction.atomic
def token_create(*, user: User, name: str, scopes: list[str], lifetime: timedelta) -> tuple[ApiToken, str]:
    """A token of this person and its text, which cannot be had again."""
    token, text = ApiToken.issue(user, name=name, scopes=scopes, expires=timezone.now() + lifetime)
    audit(
        "token.create",
        token,
        actor=user,
        after={"name": name, "scopes": token.scopes, "expires": token.expires and token.expires.isoformat()},
    )
    return token, text


@transaction.atomic
def token_revoke(*, token: ApiToken, actor: User) -> None:
    """The token is refused from now on. Revoking it again changes nothing."""
    if ApiToken.objects.filter(pk=token.pk, revoked=None).update(revoked=timezone.now()):
        audit("token.revoke", token, actor=actor, before={"revoked": False}, after={"revoked": True})
