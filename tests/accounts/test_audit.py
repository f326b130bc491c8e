"""The audit log: staff see all, team admins their teams; filters and paging stand in the address."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.models import AuditEvent, Team, User, audit
from tests.conftest import client_for

pytestmark = pytest.mark.django_db
URL = "/operate/audit/"


def shown(user: User, query: str = "") -> list[str]:
    return [event.action for event in client_for(user).get(URL + query).context["page"].rows]


@pytest.fixture
def events(team: Team, alice: User, charlie: User) -> None:
    audit("team.create", team, actor=alice, team=team, after={"name": "<b>Vision</b>"})
    audit("token.create", charlie, actor=charlie)
    audit("model.publish", team, actor=charlie, team=charlie.personal_team)


def test_each_sees_what_they_answer_for(events: None, operator: User, people: dict[str, User]) -> None:
    assert shown(operator) == ["model.publish", "token.create", "team.create"]
    assert shown(people["owner"]) == ["team.create"]
    assert shown(people["team mate"]) == []
    assert shown(people["outsider"]) == ["model.publish"]
    assert client_for(people["anonymous"]).get(URL).status_code == 302


def test_without_any_team_to_answer_for_it_is_refused(charlie: User) -> None:
    charlie.memberships.all().delete()
    assert client_for(charlie).get(URL).status_code == 403


def test_filters(events: None, operator: User, team: Team) -> None:
    assert shown(operator, "?actor=CHARLIE") == ["model.publish", "token.create"]
    assert shown(operator, "?action=token") == ["token.create"]
    assert shown(operator, f"?team={team.slug}") == ["team.create"]
    AuditEvent.objects.filter(action="token.create").update(at=datetime(2024, 5, 1, 23, 59, tzinfo=UTC))
    assert shown(operator, "?since=2024-05-01&until=2024-05-01") == ["token.create"]
    assert shown(operator, "?until=2024-04-30") == []


def test_a_bad_date_is_said_and_nothing_breaks(operator: User) -> None:
    response = client_for(operator).get(URL + "?since=yesterday")
    assert response.status_code == 400 and "Enter a valid date" in response.content.decode()


def test_pages_do_not_move_when_rows_are_added(operator: User) -> None:
    for number in range(120):
        audit(f"test.{number:03}", operator, actor=operator)
    client = client_for(operator)
    first = client.get(URL + "?action=test").context["page"]
    audit("test.new", operator, actor=operator)
    second = client.get(URL + first.older).context["page"]
    third = client.get(URL + second.older).context["page"]
    seen = [event.action for page in (first, second, third) for event in page.rows]
    assert seen == [f"test.{number:03}" for number in reversed(range(120))]
    assert third.older == "" and second.newest == "?action=test" and first.newest == ""


def test_values_are_escaped(events: None, alice: User) -> None:
    text = client_for(alice).get(URL).content.decode()
    assert "&lt;b&gt;Vision" in text and "<b>Vision" not in text


def test_a_change_is_told_as_before_and_after(team: Team, alice: User) -> None:
    changed = audit(
        "membership.set", team, actor=alice, team=team, before={"user": "bob", "role": None}, after={"user": "bob", "role": "admin"}
    )
    assert [(change.name, change.before, change.after) for change in changed.changes] == [("user", "bob", "bob"), ("role", "", "admin")]
    made = audit(
        "token.create",
        team,
        actor=alice,
        team=team,
        after={"scopes": ["a", "b"], "note": None, "own": False, "expires": "2026-12-21T14:58:19.3+00:00"},
    )
    told = [("scopes", "a, b"), ("note", ""), ("own", "no"), ("expires", "21 Dec 2026, 14:58")]
    assert [(change.name, change.after) for change in made.changes] == told
    text = client_for(alice).get(URL).content.decode()
    assert "a, b" in text and "<s class" not in text and "bob</dd>" in text and "[&#x27;" not in text


def test_query_count(events: None, alice: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    client = client_for(alice)
    with django_assert_num_queries(5):  # session, person, admin anywhere, events with teams, curator
        client.get(reverse("accounts:audit"))
