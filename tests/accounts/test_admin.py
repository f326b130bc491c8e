"""The operators' records: every list and form opens, digests stay hidden, the log cannot be changed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiToken, AuditEvent, Team, User, audit
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


def test_tokens_are_revoked_there(operator: User, alice: User) -> None:
    token, _ = ApiToken.issue(alice, name="nightly", scopes=["search:read"], expires=None)
    data = {"action": "revoke", "_selected_action": [token.pk]}
    assert client_for(operator).post(reverse("admin:accounts_apitoken_changelist"), data).status_code == 302
    assert not ApiToken.objects.live().exists()


def test_nobody_else_gets_in(alice: User) -> None:
    assert client_for(alice).get(reverse("admin:accounts_user_changelist")).status_code == 302
