"""A running search of Alice's with four rows, and how often its sockets look by themselves."""

from __future__ import annotations

import pytest

from accounts.models import Team, User
from search import consumers
from search.models import Search, SearchState
from tests.search.factories import make_sampleset, make_search, make_version

NEVER = 3600.0


@pytest.fixture
def search(alice: User, team: Team) -> Search:
    versions = [make_version(alice, team, f"model-{number}") for number in range(4)]
    return make_search(alice, make_sampleset(alice), versions, state=SearchState.RUNNING)


@pytest.fixture
def only_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets do not look by themselves: what arrives was told."""
    monkeypatch.setattr(consumers, "LOOK_SECONDS", NEVER)


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "LOOK_SECONDS", 0.3)
