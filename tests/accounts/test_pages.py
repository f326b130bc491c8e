"""Settings pages: who sees what, and what a form changes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from accounts.models import ApiToken, AuditEvent, Membership, Role, Team, User
from tests.conftest import PASSWORD, client_for

pytestmark = pytest.mark.django_db
PRIVATE = ["accounts:settings", "accounts:tokens", "accounts:team_list", "accounts:audit"]


@pytest.mark.parametrize("name", PRIVATE)
def test_every_signed_in_person_has_their_own_pages(name: str, people: dict[str, User]) -> None:
    for who, user in people.items():
        response = client_for(user).get(reverse(name))
        if who == "anonymous":
            assert response.status_code == 302 and response.url.startswith(reverse("account_login"))
        else:
            assert response.status_code == 200


def test_a_team_is_seen_by_its_members_only(team: Team, people: dict[str, User]) -> None:
    url = reverse("accounts:team_detail", args=[team.slug])
    expected = {"owner": 200, "team mate": 200, "outsider": 404, "anonymous": 302}
    assert {who: client_for(user).get(url).status_code for who, user in people.items()} == expected


def test_outsiders_cannot_tell_a_team_from_no_team(team: Team, charlie: User) -> None:
    client = client_for(charlie)
    for slug in (team.slug, "no-such-team"):
        assert client.get(reverse("accounts:team_detail", args=[slug])).status_code == 404
        assert client.post(reverse("accounts:member_set", args=[slug]), {"username": "charlie", "role": "admin"}).status_code == 404
        assert client.post(reverse("accounts:member_remove", args=[slug, "alice"])).status_code == 404


def test_only_admins_change_members(team: Team, alice: User, bob: User, charlie: User) -> None:
    url = reverse("accounts:member_set", args=[team.slug])
    assert client_for(bob).post(url, {"username": "charlie", "role": "viewer"}).status_code == 403
    assert not Membership.objects.filter(team=team, user=charlie).exists()
    assert client_for(alice).post(url, {"username": "Charlie", "role": "publisher"}).status_code == 302
    assert Membership.objects.get(team=team, user=charlie).role == Role.PUBLISHER
    event = AuditEvent.objects.get(action="membership.set")
    assert (event.actor, event.before, event.after) == (alice, {"user": "charlie", "role": None}, {"user": "charlie", "role": "publisher"})


def test_an_unknown_name_is_said_beside_the_field(team: Team, alice: User) -> None:
    response = client_for(alice).post(reverse("accounts:member_set", args=[team.slug]), {"username": "nobody", "role": "viewer"})
    assert response.status_code == 400
    assert "Nobody here is called nobody" in response.content.decode()


def test_the_last_admin_stays(team: Team, alice: User) -> None:
    client = client_for(alice)
    for url, data in (
        (reverse("accounts:member_set", args=[team.slug]), {"username": "alice", "role": "viewer"}),
        (reverse("accounts:member_remove", args=[team.slug, "alice"]), {}),
    ):
        response = client.post(url, data, follow=True)
        assert "Make somebody else admin first" in response.content.decode()
    assert Membership.objects.get(team=team, user=alice).role == Role.ADMIN


def test_a_member_may_leave_but_not_remove_others(team: Team, alice: User, bob: User) -> None:
    client = client_for(bob)
    assert client.post(reverse("accounts:member_remove", args=[team.slug, "alice"])).status_code == 403
    assert client.post(reverse("accounts:member_remove", args=[team.slug, "bob"])).url == reverse("accounts:team_list")
    assert not Membership.objects.filter(team=team, user=bob).exists()


def test_a_personal_team_keeps_its_person(alice: User, bob: User) -> None:
    personal = alice.personal_team
    Membership.objects.create(team=personal, user=bob, role=Role.ADMIN)
    assert client_for(bob).post(reverse("accounts:member_remove", args=[personal.slug, "alice"])).status_code == 403
    assert Membership.objects.filter(team=personal, user=alice).exists()


def test_a_new_team_gets_an_address_and_its_maker_as_admin(alice: User) -> None:
    response = client_for(alice).post(reverse("accounts:team_list"), {"name": "Speech & Audio"})
    assert response.url == reverse("accounts:team_detail", args=["speech-audio"])
    assert Membership.objects.get(team__slug="speech-audio", user=alice).role == Role.ADMIN


@pytest.mark.parametrize("name", ["Vision", "日本"])
def test_an_address_that_is_taken_or_impossible_is_refused(team: Team, alice: User, name: str) -> None:
    response = client_for(alice).post(reverse("accounts:team_list"), {"name": name})
    assert response.status_code == 400
    assert Team.objects.filter(personal_of=None).count() == 1


def test_the_profile_is_saved(alice: User) -> None:
    data = {"first_name": "Alice", "last_name": "A", "email": "alice@example.net"}
    assert client_for(alice).post(reverse("accounts:settings"), data).status_code == 302
    alice.refresh_from_db()
    assert (alice.first_name, alice.email, alice.shortcuts) == ("Alice", "alice@example.net", False)
    assert 'data-shortcuts="off"' in client_for(alice).get(reverse("accounts:settings")).content.decode()


def test_an_email_belongs_to_one_person(alice: User, bob: User) -> None:
    response = client_for(alice).post(reverse("accounts:settings"), {"email": "BOB@example.org"})
    assert response.status_code == 400 and "Another account uses this e-mail" in response.content.decode()


def test_a_token_is_shown_once_and_its_digest_never(alice: User) -> None:
    client, url = client_for(alice), reverse("accounts:tokens")
    response = client.post(url, {"name": "nightly", "scopes": ["search:read"], "expires": "30"})
    assert response.status_code == 201 and "no-store" in response["Cache-Control"]
    token = ApiToken.objects.get()
    text = response.context["text"]
    assert ApiToken.digest_of(text) == token.digest and text in response.content.decode()
    assert timedelta(days=29) < token.expires - timezone.now() < timedelta(days=31)
    again = client.get(url).content.decode()
    assert "nightly" in again and text not in again and token.digest not in again + response.content.decode()


@pytest.mark.parametrize("change", [{"expires": ""}, {"expires": "9999"}, {"scopes": []}, {"scopes": ["everything"]}, {"name": ""}])
def test_a_token_needs_a_name_scopes_and_an_end(alice: User, change: dict[str, object]) -> None:
    data = {"name": "nightly", "scopes": ["search:read"], "expires": "30"} | change
    assert client_for(alice).post(reverse("accounts:tokens"), data).status_code == 400
    assert not ApiToken.objects.exists()


def test_only_operators_may_give_the_operator_scope(alice: User, operator: User) -> None:
    data = {"name": "metrics", "scopes": ["operate:read"], "expires": "30"}
    assert client_for(alice).post(reverse("accounts:tokens"), data).status_code == 400
    assert client_for(operator).post(reverse("accounts:tokens"), data).status_code == 201


def test_a_token_is_revoked_by_its_owner_only(alice: User, bob: User) -> None:
    token, _ = ApiToken.issue(alice, name="nightly", scopes=["search:read"], expires=None)
    url = reverse("accounts:token_revoke", args=[token.pk])
    assert client_for(bob).post(url).status_code == 404
    assert ApiToken.objects.live().count() == 1
    assert client_for(alice).post(url).status_code == 302
    assert ApiToken.objects.live().count() == 0
    assert client_for(alice).post(url).status_code == 302
    assert AuditEvent.objects.filter(action="token.revoke").count() == 1


def test_changes_need_a_csrf_token(alice: User, team: Team) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    token, _ = ApiToken.issue(alice, name="nightly", scopes=["search:read"], expires=None)
    for url in (
        reverse("accounts:settings"),
        reverse("accounts:tokens"),
        reverse("accounts:token_revoke", args=[token.pk]),
        reverse("accounts:member_set", args=[team.slug]),
    ):
        assert client.post(url, {}).status_code == 403


def test_lists_ask_the_database_a_fixed_number_of_times(alice: User, team: Team, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    client = client_for(alice)
    for number in range(10):
        Membership.objects.create(team=Team.objects.create(slug=f"team-{number}", name=f"Team {number}"), user=alice, role=Role.ADMIN)
        Membership.objects.create(team=team, user=User.objects.create_user(f"member-{number}"), role=Role.VIEWER)
        ApiToken.issue(alice, name=f"token {number}", scopes=["search:read"], expires=None)
    # session, person, whether the person curates, then the list
    with django_assert_num_queries(4):
        client.get(reverse("accounts:tokens"))
    with django_assert_num_queries(4):
        client.get(reverse("accounts:team_list"))
    with django_assert_num_queries(5):  # the membership that opens the page
        client.get(reverse("accounts:team_detail", args=[team.slug]))


def test_signing_up_signs_in_and_makes_a_personal_team(client: Client) -> None:
    data = {"username": "dora", "email": "dora@example.org", "password1": PASSWORD, "password2": PASSWORD}
    assert client.post(reverse("account_signup"), data).status_code == 302
    dora = User.objects.get(username="dora")
    assert dora.personal_team.slug == "dora" and client.get(reverse("accounts:settings")).status_code == 200


def test_closed_sign_up_says_so(client: Client, settings: Settings) -> None:
    settings.SIGNUP_OPEN = False
    assert "Sign-up is closed" in client.get(reverse("account_signup")).content.decode()
    assert reverse("account_signup") not in client.get(reverse("account_login")).content.decode()


def test_a_wrong_password_is_said(client: Client, alice: User) -> None:
    response = client.post(reverse("account_login"), {"login": "alice", "password": "wrong"})
    assert response.status_code == 200 and "field-error" in response.content.decode() or "alert-error" in response.content.decode()
    assert client.post(reverse("account_login"), {"login": "alice@example.org", "password": PASSWORD}).status_code == 302


def test_account_pages_have_no_inline_script_or_style(client: Client, alice: User) -> None:
    pages = [client.get(reverse(name)) for name in ("account_login", "account_signup", "account_reset_password")]
    signed_in = client_for(alice)
    names = ("account_change_password", "account_logout", "mfa_index", "accounts:settings", "accounts:tokens")
    pages += [signed_in.get(reverse(name)) for name in names]
    for page in pages:
        text = page.content.decode()
        assert page.status_code == 200 and "site-header" in text, page.request["PATH_INFO"]
        assert "style=" not in text and "onclick" not in text and "<style" not in text, page.request["PATH_INFO"]
