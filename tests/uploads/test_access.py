"""Whose uploads are whose; sessions need a CSRF token, API tokens a scope."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import ApiToken, Scope, User
from tests.conftest import client_for
from tests.uploads.tusclient import Tus
from uploads.models import Upload

pytestmark = pytest.mark.django_db


def bearer(user: User, *scopes: str) -> Tus:
    _, text = ApiToken.issue(user, name="test", scopes=list(scopes), expires=None)
    return Tus(Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {text}"}))


def test_an_upload_exists_for_its_owner_only(tus: Tus, team: object, people: dict[str, User]) -> None:
    url = tus.created(3)
    expected = {"owner": (200, 204), "team mate": (404, 404), "outsider": (404, 404), "anonymous": (401, 401)}
    for who in ("team mate", "outsider", "anonymous", "owner"):
        other = Tus(client_for(people[who]))
        assert (other.head(url).status_code, other.patch(url, 0, b"abc").status_code) == expected[who], who
        if who != "owner":
            assert other.delete(url).status_code == expected[who][0]
            assert other.get(url).status_code == expected[who][0]


def test_nobody_uploads_without_a_name() -> None:
    response = Tus(Client()).create(3)
    assert response.status_code == 401 and response["WWW-Authenticate"].startswith("Bearer") and not Upload.objects.exists()


@pytest.mark.parametrize(
    ("purpose", "scope"), [("samples", Scope.SEARCH_WRITE), ("model", Scope.CATALOG_WRITE), ("reference", Scope.CATALOG_WRITE)]
)
def test_tokens_need_the_scope_of_the_purpose_and_no_csrf(alice: User, purpose: str, scope: str) -> None:
    others = [value for value in Scope.values if value != scope]
    assert bearer(alice, *others).create(3, purpose=purpose).status_code == 403
    good = bearer(alice, scope)
    url = good.created(3, purpose=purpose)
    for refused in (bearer(alice, *others).patch(url, 0, b"abc"), bearer(alice, *others).head(url), bearer(alice, *others).delete(url)):
        assert refused.status_code == 403
    assert good.delete(url).status_code == 204


def test_a_dead_token_is_401_even_with_a_session(alice: User) -> None:
    client = client_for(alice)
    client.defaults["HTTP_AUTHORIZATION"] = "Bearer msh_nothing"
    assert Tus(client).create(3).status_code == 401


def test_sessions_need_their_csrf_token(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    tus = Tus(client)
    assert tus.create(3).status_code == 403 and not Upload.objects.exists()
    client.get("/accounts/password/change/")
    token = client.cookies["csrftoken"].value
    response = tus.create(3, X_CSRFToken=token)
    assert response.status_code == 201
    url = "/uploads/" + response["Location"]
    assert tus.head(url).status_code == 200
    assert tus.patch(url, 0, b"abc").status_code == 403
    assert tus.patch(url, 0, b"abc", X_CSRFToken="x" * 32).status_code == 403
    assert tus.delete(url).status_code == 403
    assert tus.patch(url, 0, b"abc", X_CSRFToken=token).status_code == 204
