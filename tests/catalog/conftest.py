"""What the tests of the catalog share."""

from __future__ import annotations

import pytest

from accounts.models import Membership, Role, Team, User
from tests.conftest import make_user


@pytest.fixture
def carol(db: None, team: Team) -> User:
    """A curator of the team."""
    user = make_user("carol")
    Membership.objects.create(team=team, user=user, role=Role.CURATOR)
    return user
