"""The shared sandboxes, under the names tests ask for, and the stage for whole jobs."""

from __future__ import annotations

import pytest

from accounts.models import Team, User
from tests.abuse.stage import Stage
from tests.core.sandbox.fixtures import sandbox, sandbox_without, session

__all__ = ["sandbox", "sandbox_without", "session", "stage"]


@pytest.fixture
def stage(team: Team, alice: User) -> Stage:
    return Stage(team, alice)
