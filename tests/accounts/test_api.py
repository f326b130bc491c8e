"""REST API of accounts: scopes, and what a token must never do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import ApiToken, Membership, Role, Scope, Team, User
from tests.conftest import api_for

pytestmark = pytest.mark.django_db


def bearer(user: User, *scopes: str, expires: timedelta = timedelta(days=1)) -> APIClient:
    _, text = ApiToken.issue(user, name="test", scopes=list(scopes), expires=timezone.now() + expires)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


def test_me(people: dict[str, User]) -> None:
    for who, user in people.items():
        response = api_for(user).get("/api/me/")
        if who == "anonymous":
            assert response.status_code == 401 and response["Content-Type"] == "application/problem+json"
        else:
            assert response.json()["username"] == user.username


def test_a_token_reads_its_person_but_does_not_change_them(alice: User) -> None:
    client = bearer(alice, Scope.SEARCH_READ)
    assert client.get("/api/me/").json()["username"] == "alice"
    assert client.patch("/api/me/", {"first_name": "Mallory"}).status_code == 403
    assert api_for(alice).patch("/api/me/", {"first_name": "Alice", "is_staff": True, "username": "root"}).status_code == 200
    alice.refresh_from_db()
    assert (alice.first_name, alice.is_staff, alice.username) == ("Alice", False, "alice")


def test_teams_are_listed_for_their_members(team: Team, people: dict[str, User]) -> None:
    listed = {who: [row["slug"] for row in api_for(user).get("/api/teams/").json().get("results", [])] for who, user in people.items()}
    assert listed == {"owner": ["vision", "alice"], "team mate": ["vision", "bob"], "outsider": ["charlie"], "anonymous": []}


def test_one_team(team: Team, people: dict[str, User]) -> None:
    expected = {"owner": 200, "team mate": 200, "outsider": 404, "anonymous": 401}
    assert {who: api_for(user).get("/api/teams/vision/").status_code for who, user in people.items()} == expected
    members = api_for(people["owner"]).get("/api/teams/vision/").json()["members"]
    assert {member["username"]: member["role"] for member in members} == {"alice": "admin", "bob": "viewer"}


def test_reading_teams_needs_the_catalog(team: Team, alice: User) -> None:
    assert bearer(alice, Scope.CATALOG_READ).get("/api/teams/vision/").status_code == 200
    assert bearer(alice, Scope.SEARCH_READ, Scope.SEARCH_WRITE).get("/api/teams/vision/").status_code == 403


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("post", "/api/tokens/"),
        ("get", "/api/tokens/"),
        ("post", "/api/teams/"),
        ("put", "/api/teams/vision/members/charlie/"),
        ("delete", "/api/teams/vision/members/bob/"),
    ],
)
def test_no_token_changes_who_may_do_what(team: Team, alice: User, charlie: User, method: str, url: str) -> None:
    client = bearer(alice, *Scope.values)
    response = getattr(client, method)(url, {"name": "x", "slug": "x", "scopes": ["search:read"], "expires_days": 7, "role": "admin"})
    assert response.status_code == 403 and "browser session" in response.json()["detail"]
    assert ApiToken.objects.count() == 1 and Membership.objects.filter(team=team).count() == 2


def test_members_are_set_by_admins(team: Team, alice: User, bob: User, charlie: User) -> None:
    url = "/api/teams/vision/members/charlie/"
    assert api_for(charlie).put(url, {"role": "admin"}).status_code == 404
    assert api_for(bob).put(url, {"role": "viewer"}).status_code == 403
    assert api_for(alice).put(url, {"role": "boss"}).status_code == 400
    assert api_for(alice).put(url, {"role": "curator"}).json()["role"] == "curator"
    assert api_for(alice).put("/api/teams/vision/members/nobody/", {"role": "viewer"}).status_code == 404
    assert api_for(alice).delete(url).status_code == 204
    refused = api_for(alice).delete("/api/teams/vision/members/alice/")
    assert refused.status_code == 422 and refused.json()["fix"] == "Make somebody else admin first."


def test_a_team_is_made(alice: User, team: Team) -> None:
    assert api_for(alice).post("/api/teams/", {"name": "Speech", "slug": "speech"}).status_code == 201
    assert Membership.objects.get(team__slug="speech").role == Role.ADMIN
    assert api_for(alice).post("/api/teams/", {"name": "Other", "slug": "vision"}).json()["errors"]["slug"]


def test_tokens_by_api(alice: User, bob: User) -> None:
    made = api_for(alice).post("/api/tokens/", {"name": "ci", "scopes": ["search:read"], "expires_days": 90})
    assert made.status_code == 201 and made.json()["token"].startswith("msh_")
    listed = api_for(alice).get("/api/tokens/").json()["results"]
    assert [row["name"] for row in listed] == ["ci"] and "token" not in listed[0] and "digest" not in listed[0]
    assert api_for(bob).get("/api/tokens/").json()["results"] == []
    url = f"/api/tokens/{made.json()['id']}/"
    assert api_for(bob).delete(url).status_code == 404
    assert api_for(alice).delete(url).status_code == 204
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {made.json()['token']}")
    assert client.get("/api/me/").status_code == 401


@pytest.mark.parametrize("change", [{"expires_days": 8}, {"expires_days": None}, {"scopes": []}, {"scopes": ["operate:read"]}])
def test_token_limits_by_api(alice: User, change: dict[str, object]) -> None:
    asked = {"name": "ci", "scopes": ["search:read"], "expires_days": 90} | change
    assert api_for(alice).post("/api/tokens/", asked).status_code == 400


def test_dead_tokens_are_all_the_same_401(alice: User) -> None:
    answers = []
    expired = bearer(alice, Scope.SEARCH_READ, expires=timedelta(seconds=-1))
    revoked = bearer(alice, Scope.SEARCH_READ)
    ApiToken.objects.order_by("-id").first().__class__.objects.filter(expires__gt=timezone.now()).update(revoked=timezone.now())
    unknown = APIClient()
    unknown.credentials(HTTP_AUTHORIZATION="Bearer msh_nothing")
    for client in (expired, revoked, unknown):
        response = client.get("/api/me/")
        answers.append((response.status_code, response.json()["detail"], response["WWW-Authenticate"]))
    assert len(set(answers)) == 1 and answers[0][0] == 401


def test_a_token_of_somebody_inactive_is_dead(alice: User) -> None:
    client = bearer(alice, Scope.SEARCH_READ)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert client.get("/api/me/").status_code == 401


def test_last_use_is_noted(alice: User) -> None:
    bearer(alice, Scope.SEARCH_READ).get("/api/me/")
    assert ApiToken.objects.get().last_used is not None
