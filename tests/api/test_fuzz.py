"""Strange requests made from the schema (schemathesis), over WSGI, signed in as somebody who owns one of everything.

Every second request gets the ids of what is there, so that the answers behind an existing address are tried as well. What a
request changed is rolled back before the next. The seed is fixed: a failure comes again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import schemathesis
from django.conf import settings as django_settings
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.config import SchemathesisConfig

from tests.api.conftest import World

CSRF = "k" * 32
CONFIG = {
    "phases": {"stateful": {"enabled": False}},
    "generation": {"max-examples": 6, "deterministic": True, "no-shrink": True, "with-security-parameters": False},
    "checks": {
        # Valid by shape is not valid by content: an upload that was used up, a name that is taken, a member who is no member.
        # Requests carry a session cookie, which this check does not take off; test_scopes.py asks every route without one.
        "ignored_auth": {"enabled": False},
        # REST framework reads 0 as false and 7 as "7"; what must be refused is tested at each view.
        "negative_data_rejection": {"enabled": False},
        "positive_data_acceptance": {"expected-statuses": ["2xx", "400", "403", "404", "409", "422"]},
    },
}

api = schemathesis.openapi.from_dict(SchemaGenerator().get_schema(public=True), config=SchemathesisConfig.from_dict(CONFIG))
api.app = get_wsgi_application()


@schemathesis.check
def refusals_are_problem_details(ctx: CheckContext, response: Response, case: Case) -> None:
    """RFC 9457: every 4xx carries type, title and its own status, as application/problem+json."""
    if not 400 <= response.status_code < 500 or case.method.upper() == "HEAD":
        return
    assert response.headers["content-type"] == ["application/problem+json"], response.headers["content-type"]
    body = response.json()
    assert body["status"] == response.status_code
    assert body["type"].startswith("urn:modelshop:")
    assert body["title"]


class Undone(Exception):
    """Ends a request's savepoint."""


@pytest.mark.django_db
@api.parametrize()
@settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_api_keeps_its_word(case: Case, world: World, session: dict[str, str], turn: itertools.count[int]) -> None:
    made = case.meta.generation.mode if case.meta else None
    if next(turn) % 2 and made == GenerationMode.POSITIVE and case.path_parameters:
        case.path_parameters.update(world.parameters(case.path))
    try:
        with transaction.atomic():
            case.call_and_validate(headers={"X-CSRFToken": CSRF}, cookies=session)
            raise Undone
    except Undone:
        pass


@pytest.fixture
def turn() -> itertools.count[int]:
    return itertools.count()


@pytest.fixture
def session(world: World) -> Iterator[dict[str, str]]:
    """Cookies of a signed-in browser; a token could not reach what asks for a session."""
    client = Client()
    client.force_login(world.owner)
    key = client.cookies[django_settings.SESSION_COOKIE_NAME].value
    # The test's transaction must outlive the requests, as it does under Django's own test client.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield {django_settings.SESSION_COOKIE_NAME: key, "csrftoken": CSRF}
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)
