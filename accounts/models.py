"""Users, teams, memberships, API tokens and the audit log."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.translation import gettext as _


class Role(models.TextChoices):
    """What a member may do in a team; each role may do what those before it may."""

    VIEWER = "viewer", "Viewer"
    PUBLISHER = "publisher", "Publisher"
    CURATOR = "curator", "Curator"
    ADMIN = "admin", "Admin"

    @classmethod
    def at_least(cls, role: str) -> list[str]:
        """The roles that may do what `role` may."""
        return cls.values[cls.values.index(role) :]


class Visibility(models.TextChoices):
    PRIVATE = "private", "Private: only you"
    TEAM = "team", "Team: every member"
    PUBLIC = "public", "Public: everybody signed in"


class User(AbstractUser):
    """A person. `shortcuts` switches single-key shortcuts on the pages."""

    shortcuts = models.BooleanField(default=True)

    objects: ClassVar[UserManager[User]] = UserManager()  # type: ignore[assignment]

    def teams_with_role(self, role: str) -> models.QuerySet[Team]:
        """Teams in which this person may do what `role` may."""
        return Team.objects.filter(memberships__user=self, memberships__role__in=Role.at_least(role))

    @property
    def is_curator(self) -> bool:
        """Whether anything may ever wait for this person's review."""
        return self.is_superuser or self.teams_with_role(Role.CURATOR).exists()


class Team(models.Model):
    """Owner of models. Every person has a personal team, named after them, that nobody else joins by default."""

    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    personal_of = models.OneToOneField(User, null=True, blank=True, on_delete=models.CASCADE, related_name="personal_team")
    created = models.DateTimeField(default=timezone.now)
    members: models.ManyToManyField[User, Membership] = models.ManyToManyField(  # type: ignore[name-defined]
        User, through="Membership", related_name="teams"
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class MembershipQuerySet(models.QuerySet["Membership"]):
    def of_user(self, user: User) -> MembershipQuerySet:
        """A person's teams with the number of members each has, for their team list."""
        members = models.Count("team__memberships")
        return self.filter(user=user).select_related("team").annotate(n_members=members).order_by("team__name")


class Membership(models.Model):
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=12, choices=Role.choices, default=Role.VIEWER)
    created = models.DateTimeField(default=timezone.now)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "team"], name="one_membership_per_team")]

    def __str__(self) -> str:
        return f"{self.user} in {self.team} as {self.role}"


class Scope(models.TextChoices):
    CATALOG_READ = "catalog:read", "Read models"
    CATALOG_WRITE = "catalog:write", "Publish and change models"
    SEARCH_READ = "search:read", "Read sample sets and searches"
    SEARCH_WRITE = "search:write", "Upload samples and run searches"
    OPERATE_READ = "operate:read", "Read metrics (operators only)"


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def live(self) -> ApiTokenQuerySet:
        return self.filter(revoked=None).filter(Q(expires=None) | Q(expires__gt=timezone.now()))

    def of_user(self, user: User) -> ApiTokenQuerySet:
        """Every token of a person that was not revoked, expired ones too, the newest first."""
        return self.filter(user=user, revoked=None).order_by("-id")


class ApiToken(models.Model):
    """A bearer token. Only its SHA-256 is stored; the text is shown once, when it is made."""

    PREFIX = "msh_"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(max_length=12, editable=False)
    scopes = models.JSONField(default=list)
    created = models.DateTimeField(default=timezone.now)
    expires = models.DateTimeField(null=True, blank=True)
    last_used = models.DateTimeField(null=True, blank=True)
    revoked = models.DateTimeField(null=True, blank=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created"]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint})"

    @property
    def scope_labels(self) -> list[str]:
        """What it may do, in words; a scope of another time by its name."""
        labels = dict(Scope.choices)
        return [str(labels.get(scope, scope)) for scope in self.scopes]

    @property
    def is_live(self) -> bool:
        return self.revoked is None and (self.expires is None or self.expires > timezone.now())

    @classmethod
    def issue(cls, user: User, *, name: str, scopes: list[str], expires: datetime | None) -> tuple[ApiToken, str]:
        """Make a token; returns the row and its text, which cannot be had again."""
        text = cls.PREFIX + secrets.token_urlsafe(32)
        token = cls.objects.create(user=user, name=name, scopes=sorted(scopes), expires=expires, digest=cls.digest_of(text), hint=text[:8])
        return token, text

    @staticmethod
    def digest_of(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")


@dataclass(frozen=True, slots=True)
class Change:
    """One value of an audit event, as text."""

    name: str
    before: str
    after: str

    @property
    def differs(self) -> bool:
        return self.before != self.after


def _shown(value: Any) -> str:
    """A value as people read it: lists with commas, nothing as nothing, moments as dates, true and false as words."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(_("yes") if value else _("no"))
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value)
    moment = parse_datetime(value) if isinstance(value, str) and _MOMENT.match(value) else None
    return str(value) if moment is None else date_format(moment, "j M Y, H:i")


class AuditEvent(models.Model):
    """Who changed what, before and after. Rows are only ever added."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    actor_name = models.CharField(max_length=150, blank=True)
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    action = models.CharField(max_length=60, db_index=True)
    object_type = models.CharField(max_length=40)
    object_id = models.CharField(max_length=40)
    object_label = models.CharField(max_length=200)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["object_type", "object_id"], name="audit_object")]

    def __str__(self) -> str:
        return f"{self.action} {self.object_label}"

    @property
    def changes(self) -> list[Change]:
        """Name by name; a value that was or is not there is "". Values that stayed say what the change is about."""
        names = dict.fromkeys([*self.before, *self.after])
        return [Change(name, _shown(self.before.get(name)), _shown(self.after.get(name))) for name in names]


def audit(
    action: str,
    subject: models.Model,
    *,
    actor: User | None,
    team: Team | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> AuditEvent:
    """Record one change of state. Call it in the transaction of the change. `action` is noun.verb."""
    return AuditEvent.objects.create(
        actor=actor,
        actor_name=actor.get_username() if actor else "system",
        team=team,
        action=action,
        object_type=subject._meta.model_name or "",
        object_id=str(subject.pk),
        object_label=str(subject)[:200],
        before=before or {},
        after=after or {},
    )
