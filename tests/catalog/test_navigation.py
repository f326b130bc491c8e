"""Who finds the review queue in the navigation, and who may open it."""

from __future__ import annotations

import pytest
from django.urls import reverse

from accounts.models import Membership, Role, Team, User
from catalog.models import VersionState
from tests.catalog.makers import make_model, make_version
from tests.conftest import client_for, make_user

pytestmark = pytest.mark.django_db
QUEUE = "/curate/queue/"


def offered(user: User) -> bool:
    return f'<a href="{QUEUE}"' in client_for(user).get(reverse("catalog:model_list")).content.decode().split("</nav>")[0]


def test_nobody_is_offered_to_review_only_themselves(team: Team, bob: User) -> None:
    """Everybody is admin of their own team; that alone is no reason to send them to a queue."""
    assert bob.personal_team.memberships.get().role == Role.ADMIN
    assert not offered(bob)
    assert client_for(bob).get(QUEUE).status_code == 200, "but they may look"


@pytest.mark.parametrize(("role", "there"), [(Role.VIEWER, False), (Role.PUBLISHER, False), (Role.CURATOR, True), (Role.ADMIN, True)])
def test_curators_of_another_team_are(team: Team, role: Role, there: bool) -> None:
    user = make_user("erin")
    Membership.objects.create(user=user, team=team, role=role)
    assert offered(user) is there


def test_whose_own_version_waits_is_as_long_as_it_does(bob: User) -> None:
    version = make_version(make_model(bob.personal_team, bob), bob)
    assert not offered(bob)
    version.state = VersionState.IN_REVIEW
    version.save(update_fields=["state"])
    assert offered(bob)


def test_operators_are(operator: User) -> None:
    assert offered(operator)
