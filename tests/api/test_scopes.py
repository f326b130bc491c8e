"""Each route with a token of each scope, without a token, and with a dead one. The table is written by hand, not read from the views."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.http.response import HttpResponseBase
from django.urls import URLPattern, get_resolver, reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import ApiToken, Scope
from accounts.services import token_create
from tests.api.conftest import World
from tests.api.test_schema import api_names

pytestmark = pytest.mark.django_db

CATALOG, SEARCH = "catalog", "search"
# Read with any scope, changed with any scope that writes.
ANY = "any"
# Never by a token: whoever holds one could make themselves a better one, or change who may do what.
SESSION = "session"

ROUTES: dict[str, dict[str, str]] = {
    "api-me": {"get": ANY, "patch": SESSION},
    "api-teams": {"get": CATALOG, "post": SESSION},
    "api-team": {"get": CATALOG},
    "api-member": {"put": SESSION, "delete": SESSION},
    "api-tokens": {"get": SESSION, "post": SESSION},
    "api-token": {"get": SESSION, "delete": SESSION},
    "api-jobs": {"get": ANY},
    "api-job": {"get": ANY},
    "api-job-cancel": {"post": ANY},
    "api-job-retry": {"post": ANY},
    "api-models": {"get": CATALOG, "post": CATALOG},
    "api-facets": {"get": CATALOG},
    "api-model": {"get": CATALOG, "patch": CATALOG, "delete": CATALOG},
    "api-model-restore": {"post": CATALOG},
    "api-model-purge": {"post": CATALOG},
    "api-aliases": {"get": CATALOG},
    "api-alias": {"put": CATALOG, "delete": CATALOG},
    "api-versions": {"get": CATALOG, "post": CATALOG},
    "api-version": {"get": CATALOG},
    "api-version-recheck": {"post": CATALOG},
    "api-version-submit": {"post": CATALOG},
    "api-version-archive": {"post": CATALOG},
    "api-reference-withdraw": {"post": CATALOG},
    "api-signature": {"get": CATALOG},
    "api-file": {"get": CATALOG},
    "api-reviews": {"get": CATALOG, "post": CATALOG},
    "api-review-queue": {"get": CATALOG},
    "api-spec-schema": {"get": CATALOG},
    "api-version-probes": {"get": CATALOG},
    "api-probe-sets": {"get": CATALOG},
    "api-probe-sharing": {"put": SESSION},
    "api-probe-set": {"get": CATALOG},
    "api-labelled-slice": {"delete": CATALOG},
    "api-calibrations": {"get": CATALOG},
    "api-sample-sets": {"get": SEARCH, "post": SEARCH},
    "api-sample-set": {"get": SEARCH, "patch": SEARCH, "delete": SEARCH},
    "api-sample-set-footprint": {"get": SEARCH},
    "api-sample-set-recheck": {"post": SEARCH},
    "api-sample-set-problems": {"get": SEARCH},
    "api-sample-set-previews": {"get": SEARCH},
    "api-searches": {"get": SEARCH, "post": SEARCH},
    "api-search-plan": {"post": SEARCH},
    "api-search": {"get": SEARCH, "patch": SEARCH, "delete": SEARCH},
    "api-search-events": {"get": SEARCH},
    "api-search-stop": {"post": SEARCH},
    "api-search-rerun": {"post": SEARCH},
    "api-candidates": {"get": SEARCH},
    "api-candidate": {"get": SEARCH},
    "api-candidate-retry": {"post": SEARCH},
    "api-search-difference": {"get": SEARCH},
    "api-search-execution": {"get": SEARCH},
    "api-search-plots": {"get": SEARCH},
    "api-search-disputed": {"get": SEARCH},
    "api-search-labels": {"get": SEARCH, "post": SEARCH, "patch": SEARCH},
    "api-search-label-next": {"get": SEARCH},
    "api-search-label-probes": {"get": SEARCH, "post": SEARCH, "delete": SEARCH},
    "api-search-label": {"delete": SEARCH},
    "api-search-json": {"get": SEARCH},
    "api-search-csv": {"get": SEARCH},
    "api-reports": {"get": SEARCH, "post": SEARCH},
    "api-report": {"get": SEARCH},
}
CALLS = [(name, method, area) for name, methods in ROUTES.items() for method, area in methods.items()]


def allowed(area: str, method: str, scope: str) -> bool:
    """A scope writes or reads its own area; writing does not imply reading."""
    reads = method == "get"
    if area == SESSION:
        return False
    if area == ANY:
        return reads or scope.endswith(":write")
    return scope == f"{area}:{'read' if reads else 'write'}"


def address(name: str, world: World) -> str:
    pattern = dict(api_names(get_resolver()))[name]
    known = world.ids.get(pattern.split("/")[0], {})
    given = {key: value for key, value in known.items() if f":{key}>" in pattern}
    if "<int:pk>" in pattern:
        given["pk"] = known["id"]
    return reverse(name, kwargs=given)


def test_the_table_names_every_route_and_every_method_of_it() -> None:
    there = {}
    for resolver in get_resolver().url_patterns:
        for pattern in getattr(resolver, "url_patterns", []):
            if isinstance(pattern, URLPattern) and (pattern.name or "").startswith("api-"):
                view = pattern.callback.view_class
                methods = {method for method in view.http_method_names if method not in ("head", "options") and hasattr(view, method)}
                there[pattern.name] = methods
    assert {name: set(methods) for name, methods in ROUTES.items()} == there


class Undone(Exception):
    """Ends a request's savepoint."""


def ask(method: str, path: str, token: str) -> HttpResponseBase:
    """One request whose changes do not last. `token`: what follows Bearer, or nothing."""
    headers = {"HTTP_AUTHORIZATION": f"Bearer {token}"} if token else {}
    try:
        with transaction.atomic():
            answer = getattr(APIClient(), method)(path, **headers)
            raise Undone
    except Undone:
        return answer


@pytest.mark.parametrize("scope", Scope.values)
def test_a_scope_opens_its_own_routes_and_no_other(world: World, scope: str) -> None:
    _, token = token_create(user=world.owner, name=scope, scopes=[scope], lifetime=timedelta(days=7))
    wrong = []
    for name, method, area in CALLS:
        answer = ask(method, address(name, world), token)
        refused = answer.status_code == 403 and answer["Content-Type"] == "application/problem+json"
        if answer.status_code == 401 or refused == allowed(area, method, scope):
            wrong.append((method, name, answer.status_code))
    assert wrong == []


def test_nobody_and_dead_tokens_get_nothing(world: World) -> None:
    dead, text = token_create(user=world.owner, name="dead", scopes=list(Scope.values), lifetime=timedelta(days=7))
    ApiToken.objects.filter(pk=dead.pk).update(expires=timezone.now() - timedelta(seconds=1))
    for name, method, _ in CALLS:
        for token in ("", "msh_unknown", text):
            answer = ask(method, address(name, world), token)
            assert answer.status_code == 401, (method, name, token)
            assert answer["WWW-Authenticate"].startswith("Bearer"), (method, name)
            assert answer["Content-Type"] == "application/problem+json", (method, name)
