"""Liveness and readiness."""

import pytest
from django.test import Client


def test_alive_needs_no_database(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.django_db
def test_ready_asks_the_database(client: Client) -> None:
    assert client.get("/readyz").status_code == 200


def test_a_browser_that_asks_for_the_icon_by_habit_gets_it(client: Client) -> None:
    assert client.get("/favicon.ico").headers["Location"].endswith("img/logo.svg")
