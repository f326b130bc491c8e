"""Signing in, passwords and two-factor sign-in: our pages in our words, and what they change."""

from __future__ import annotations

import re

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal import auth as totp
from django.conf import settings
from django.core import mail
from django.test import Client
from django.test.utils import override_settings
from django.urls import reverse

from accounts.models import User
from tests.conftest import PASSWORD, api_for, client_for

pytestmark = pytest.mark.django_db
CURRENT_TAB = re.compile(r'<nav class="tabs".*?</nav>', re.DOTALL)
RESET_LINK = re.compile(r"http://testserver(/accounts/password/reset/key/\S+)")


@pytest.fixture
def signed_in(alice: User) -> Client:
    """Signed in, and the password confirmed just now, so that nobody asks for it again."""
    client = Client()
    client.post(reverse("account_login"), {"login": "alice", "password": PASSWORD})
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    return client


def code_of(client: Client) -> str:
    """What an authenticator app shows for the key that is being set up."""
    secret = client.get(reverse("mfa_activate_totp")).context["form"].secret
    return totp.format_hotp_value(totp.hotp_value(secret, next(iter(totp.yield_hotp_counters_from_time()))))


def switch_on(client: Client) -> None:
    assert client.post(reverse("mfa_activate_totp"), {"code": code_of(client)}).status_code == 302


def current_tabs(page: str) -> list[str]:
    tabs = CURRENT_TAB.search(page)
    assert tabs
    return re.findall(r'aria-current="page">([^<]+)<', tabs[0])


@pytest.mark.parametrize(
    ("name", "tab"),
    [
        ("accounts:settings", "Profile"),
        ("accounts:tokens", "API tokens"),
        ("accounts:team_list", "Teams"),
        ("account_change_password", "Password"),
        ("mfa_index", "Two-factor sign-in"),
        ("mfa_activate_totp", "Two-factor sign-in"),
    ],
)
def test_the_settings_show_where_one_is(signed_in: Client, name: str, tab: str) -> None:
    assert current_tabs(signed_in.get(reverse(name)).content.decode()) == [tab]


def test_every_page_is_drawn_by_our_templates(signed_in: Client, client: Client) -> None:
    """allauth brings pages of its own; one that we forgot would look like no other."""
    entrance = ("account_login", "account_signup", "account_inactive", "account_email_verification_sent", "account_reset_password")
    pages = [client.get(reverse(name)) for name in (*entrance, "account_reset_password_done", "account_reset_password_from_key_done")]
    pages.append(client.get(reverse("account_confirm_email", args=["no-such-key"])))
    pages.append(client.get(reverse("account_reset_password_from_key", args=["1", "expired"])))
    pages += [signed_in.get(reverse(name)) for name in ("account_logout", "account_reauthenticate", "account_change_password", "mfa_index")]
    switch_on(signed_in)
    names = ("mfa_index", "mfa_deactivate_totp", "mfa_reauthenticate", "mfa_view_recovery_codes", "mfa_generate_recovery_codes")
    pages += [signed_in.get(reverse(name)) for name in names]
    client.post(reverse("account_login"), {"login": "alice", "password": PASSWORD})
    pages.append(client.get(reverse("mfa_authenticate")))
    for page in pages:
        origin = str(page.templates[0].origin)
        assert page.status_code == 200 and origin.startswith(str(settings.BASE_DIR / "templates")), (page.request["PATH_INFO"], origin)


def test_a_wrong_password_says_what_to_check(client: Client, alice: User) -> None:
    for login in ("alice", "alice@example.org"):
        page = client.post(reverse("account_login"), {"login": login, "password": "wrong"}).content.decode()
        assert "No account has this name and password" in page


@override_settings(EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend")
def test_a_forgotten_password_is_set_again_by_a_link_that_works_once(client: Client, alice: User) -> None:
    client.post(reverse("account_reset_password"), {"email": "alice@example.org"})
    assert mail.outbox[0].subject == "Modelshop: set a new password"
    link = RESET_LINK.search(str(mail.outbox[0].body))
    assert link and "Hello alice" in str(mail.outbox[0].body)
    form = client.get(link[1], follow=True)
    chosen = {"password1": "an entirely new one", "password2": "an entirely new one"}
    assert "Your password is changed" in client.post(form.request["PATH_INFO"], chosen, follow=True).content.decode()
    assert Client().login(username="alice", password="an entirely new one")
    assert "This link does not work any more" in Client().get(link[1], follow=True).content.decode()


def test_a_system_without_mail_says_so(client: Client, settings: object) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"  # type: ignore[attr-defined]
    assert "No e-mail is sent from here" in client.get(reverse("account_reset_password")).content.decode()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"  # type: ignore[attr-defined]
    assert "No e-mail is sent from here" not in client.get(reverse("account_reset_password")).content.decode()


def test_a_second_factor_is_asked_for_and_a_recovery_code_does_as_well(signed_in: Client, alice: User) -> None:
    EmailAddress.objects.create(user=alice, email="alice@example.org", primary=True)  # as sign-up makes it; never verified
    switch_on(signed_in)
    codes = signed_in.get(reverse("mfa_view_recovery_codes")).context["unused_codes"]
    assert len(codes) == 10
    client = Client()
    asked = client.post(reverse("account_login"), {"login": "alice", "password": PASSWORD}, follow=True)
    assert "One more step" in asked.content.decode()
    assert "alert-error" in client.post(reverse("mfa_authenticate"), {"code": "000"}).content.decode()
    assert client.post(reverse("mfa_authenticate"), {"code": codes[0]}).status_code == 302
    assert "9 of 10 left" in client.get(reverse("mfa_index")).content.decode()


def test_only_the_email_of_the_profile_signs_in_and_resets_the_password(alice: User) -> None:
    EmailAddress.objects.create(user=alice, email="alice@example.org", primary=True, verified=True)
    client_for(alice).post(reverse("accounts:settings"), {"email": "new@example.org"})
    assert list(EmailAddress.objects.values_list("email", flat=True)) == ["new@example.org"]
    for email, status in (("alice@example.org", 200), ("new@example.org", 302)):
        assert Client().post(reverse("account_login"), {"login": email, "password": PASSWORD}).status_code == status, email
    assert api_for(alice).patch("/api/me/", {"email": ""}).status_code == 200
    assert not EmailAddress.objects.exists()


def test_an_email_belongs_to_one_person_over_the_api_too(alice: User, bob: User) -> None:
    answer = api_for(alice).patch("/api/me/", {"email": "BOB@example.org"})
    assert answer.status_code == 400 and "Another account uses this e-mail" in str(answer.json())


def test_the_list_of_addresses_is_the_profile(alice: User) -> None:
    assert client_for(alice).get(reverse("account_email")).url == reverse("accounts:settings")
