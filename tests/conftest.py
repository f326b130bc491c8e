"""People and things that many tests need. alice owns, bob shares her team, charlie must never see, anonymous is nobody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.contrib.auth.models import AnonymousUser
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import Membership, Role, Team, User
from accounts.services import personal_team_create

PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data, or a skip with its reason."""
    folder = Path(os.environ.get("MODELSHOP_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set MODELSHOP_DATA")
    return folder


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """The channel layer's connections end before the database is dropped, which would else wait for them in vain."""
    yield
    async_to_sync(get_channel_layer().close)()


@pytest.fixture(autouse=True)
def quick_passwords(settings: Settings) -> None:
    """A slow hash for each person would be most of the time of many tests; what it is worth is Django's to test."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def make_user(name: str, **fields: object) -> User:
    user = User.objects.create_user(name, f"{name}@example.org", PASSWORD, **fields)
    personal_team_create(user=user)
    return user


@pytest.fixture
def alice(db: None) -> User:
    return make_user("alice")


@pytest.fixture
def bob(db: None) -> User:
    return make_user("bob")


@pytest.fixture
def charlie(db: None) -> User:
    return make_user("charlie")


@pytest.fixture
def dan(db: None, team: Team) -> User:
    """A publisher of the team."""
    user = make_user("dan")
    Membership.objects.create(team=team, user=user, role=Role.PUBLISHER)
    return user


@pytest.fixture
def operator(db: None) -> User:
    return make_user("operator", is_staff=True, is_superuser=True)


@pytest.fixture
def team(alice: User, bob: User) -> Team:
    """Alice is its admin, Bob a viewer."""
    team = Team.objects.create(slug="vision", name="Vision")
    Membership.objects.create(team=team, user=alice, role=Role.ADMIN)
    Membership.objects.create(team=team, user=bob, role=Role.VIEWER)
    return team


@pytest.fixture
def people(alice: User, bob: User, charlie: User) -> dict[str, User | AnonymousUser]:
    """The four whom every access test asks."""
    return {"owner": alice, "team mate": bob, "outsider": charlie, "anonymous": AnonymousUser()}


def client_for(user: User | AnonymousUser) -> Client:
    client = Client()
    if isinstance(user, User):
        client.force_login(user)
    return client


def api_for(user: User | AnonymousUser) -> APIClient:
    client = APIClient()
    if isinstance(user, User):
        client.force_authenticate(user)
    return client
