"""The operators' records: every list and form opens, digests stay hidden, the log cannot be changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiToken, AuditEvent, Membership, Role, Team, User, audit
from jobs.models import Job, Worker
from tests.conftest import PASSWORD, client_for
from uploads.models import Upload

pytestmark = pytest.mark.django_db


def test_every_record_opens(operator: User, team: Team, alice: User) -> None:
    token, _ = ApiToken.issue(alice, name="nightly", scopes=["search:read"], expires=None)
    job = Job.objects.create(kind="test.work", subject_id=1, label="work", lease_until=timezone.now() + timedelta(minutes=1), owner=alice)
    rows = [alice, team, team.memberships.first(), token, audit("team.create", team, actor=alice, team=team), job]
    rows += [Worker.objects.create(name="w", job=job), Upload.objects.create(owner=alice, purpose="model", name="a.onnx", size=1)]
    client = client_for(operator)
    for row in rows:
        base = f"admin:{row._meta.app_label}_{row._meta.model_name}"
        assert client.get(reverse(f"{base}_changelist")).status_code == 200, base
        page = client.get(reverse(f"{base}_change", args=[row.pk]))
        assert page.status_code == 200, base
        assert token.digest not in page.content.decode()


def test_the_log_is_read_only_even_there(operator: User, team: Team) -> None:
    event = audit("team.create", team, actor=operator, team=team)
    client = client_for(operator)
    assert client.post(reverse("admin:accounts_auditevent_change", args=[event.pk]), {"action": "forged"}).status_code == 403
    assert client.post(reverse("admin:accounts_auditevent_delete", args=[event.pk]), {"post": "yes"}).status_code == 403
    assert client.get(reverse("admin:accounts_auditevent_add")).status_code == 403
    assert AuditEvent.objects.get(pk=event.pk).action == "team.create"


def test_a_person_made_there_has_a_personal_team(operator: User) -> None:
    data = {"username": "erin", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    assert client_for(operator).post(reverse("admin:accounts_user_add"), data).status_code == 302
    assert User.objects.get(username="erin").personal_team.slug == "erin"
    assert [(actor, before, after["username"]) for actor, before, after in events("user.create")] == [("operator", {}, "erin")]


def test_tokens_are_revoked_there(operator: User, alice: User) -> None:
    token, _ = ApiToken.issue(alice, name="nightly", scopes=["search:read"], expires=None)
    data = {"action": "revoke", "_selected_action": [token.pk]}
    assert client_for(operator).post(reverse("admin:accounts_apitoken_changelist"), data).status_code == 302
    assert not ApiToken.objects.live().exists()


def events(action: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    rows = AuditEvent.objects.filter(action=action).order_by("pk")
    return [(row.actor_name, row.before, row.after) for row in rows]


def member(name: str, role: str | None) -> dict[str, str | None]:
    return {"user": name, "role": role}


def test_memberships_changed_there_are_audited(operator: User, team: Team, charlie: User) -> None:
    """By their own records: added, another role, taken away alone and by the list's action."""
    client, base = client_for(operator), "admin:accounts_membership"
    data = {"user": charlie.pk, "team": team.pk, "role": Role.VIEWER}
    assert client.post(reverse(f"{base}_add"), data).status_code == 302
    row = team.memberships.get(user=charlie)
    changed = {"user": operator.pk, "team": charlie.personal_team.pk, "role": Role.CURATOR}
    assert client.post(reverse(f"{base}_change", args=[row.pk]), changed).status_code == 302
    row.refresh_from_db()
    assert (row.user, row.team, row.role) == (charlie, team, Role.CURATOR), "only the role of a membership changes"
    assert client.post(reverse(f"{base}_delete", args=[row.pk]), {"post": "yes"}).status_code == 302
    chosen = {"action": "delete_selected", "_selected_action": [team.memberships.get(user__username="bob").pk], "post": "yes"}
    assert client.post(reverse(f"{base}_changelist"), chosen).status_code == 302
    assert events("membership.set") == [
        ("operator", member("charlie", None), member("charlie", Role.VIEWER)),
        ("operator", member("charlie", Role.VIEWER), member("charlie", Role.CURATOR)),
        ("operator", member("charlie", Role.CURATOR), member("charlie", None)),
        ("operator", member("bob", Role.VIEWER), member("bob", None)),
    ]


def test_members_changed_with_their_team_are_audited(operator: User, team: Team, alice: User, bob: User, charlie: User) -> None:
    """A viewer takes the place of the only admin, whose row stands first, in one form; then the former admin leaves."""
    client, address = client_for(operator), reverse("admin:accounts_team_change", args=[team.pk])
    old, new = team.memberships.get(user=alice), team.memberships.get(user=bob)
    data = members_form(team, (old, alice, Role.VIEWER), (new, bob, Role.ADMIN), (None, charlie, Role.PUBLISHER)) | {"name": "Sight"}
    assert client.post(address, data).status_code == 302
    team.refresh_from_db()
    data = members_form(team, (old, alice, Role.VIEWER)) | {"memberships-0-DELETE": "on"}
    assert client.post(address, data).status_code == 302
    assert {(row.user.username, row.role) for row in team.memberships.all()} == {("bob", Role.ADMIN), ("charlie", Role.PUBLISHER)}
    assert events("membership.set") == [
        ("operator", member("bob", Role.VIEWER), member("bob", Role.ADMIN)),
        ("operator", member("alice", Role.ADMIN), member("alice", Role.VIEWER)),
        ("operator", member("charlie", None), member("charlie", Role.PUBLISHER)),
        ("operator", member("alice", Role.VIEWER), member("alice", None)),
    ]
    assert events("team.change") == [("operator", {"name": "Vision", "slug": "vision"}, {"name": "Sight", "slug": "vision"})]


def test_the_last_admin_stays_there_too(operator: User, team: Team, alice: User) -> None:
    """By each way: the page says why, and nothing of the form is kept."""
    client, row = client_for(operator), team.memberships.get(user=alice)
    base = "admin:accounts_membership"
    ways = [
        (reverse(f"{base}_change", args=[row.pk]), {"role": Role.VIEWER}),
        (reverse(f"{base}_delete", args=[row.pk]), {"post": "yes"}),
        (reverse(f"{base}_changelist"), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}),
        (
            reverse("admin:accounts_team_change", args=[team.pk]),
            members_form(team, (row, alice, Role.VIEWER)) | {"name": "Not kept"},
        ),
    ]
    for address, data in ways:
        page = client.post(address, data, follow=True)
        assert "A team needs an admin." in page.content.decode(), address
    row.refresh_from_db()
    team.refresh_from_db()
    assert (row.role, team.name) == (Role.ADMIN, "Vision")
    assert not AuditEvent.objects.exists()


def members_form(team: Team, *rows: tuple[Membership | None, User, str]) -> dict[str, Any]:
    """What the team's page posts: (membership or None for a new one, person, role)."""
    data: dict[str, Any] = {"name": team.name, "slug": team.slug}
    held = sum(row is not None for row, _, _ in rows)
    data |= {"memberships-TOTAL_FORMS": len(rows), "memberships-INITIAL_FORMS": held}
    for place, (row, user, role) in enumerate(rows):
        values = {"id": row.pk if row else "", "team": team.pk, "user": user.pk, "role": role}
        data |= {f"memberships-{place}-{name}": value for name, value in values.items()}
    return data


def test_people_and_teams_changed_there_are_audited(operator: User, team: Team, alice: User, bob: User) -> None:
    client = client_for(operator)
    rights = {"is_active": True, "is_staff": False, "is_superuser": False}
    before = {"username": "bob", "email": "bob@example.org", **rights}
    data = {"username": "bob", "email": "bob@example.org", "is_staff": "on", "shortcuts": "on"}
    for _ in range(2):  # the second time nothing changes
        assert client.post(reverse("admin:accounts_user_change", args=[bob.pk]), data).status_code == 302
    after = before | {"is_active": False, "is_staff": True}
    assert events("user.change") == [("operator", before, after)]
    assert client.post(reverse("admin:accounts_user_delete", args=[bob.pk]), {"post": "yes"}).status_code == 302
    assert events("user.delete") == [("operator", after | {"teams": ["bob: admin", "vision: viewer"]}, {})]
    chosen = {"action": "delete_selected", "_selected_action": [team.pk], "post": "yes"}
    assert client.post(reverse("admin:accounts_team_changelist"), chosen).status_code == 302
    assert events("team.delete") == [("operator", {"name": "Vision", "slug": "vision", "members": ["alice: admin"]}, {})]
    assert not Team.objects.filter(pk=team.pk).exists() and not User.objects.filter(pk=bob.pk).exists()


def test_nobody_else_gets_in(alice: User) -> None:
    assert client_for(alice).get(reverse("admin:accounts_user_changelist")).status_code == 302
