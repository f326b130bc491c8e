"""Races over memberships, on real transactions."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest
from django.db import connection

from accounts.models import Membership, Role, Team
from accounts.services import LastAdmin, membership_set
from tests.conftest import make_user


@pytest.mark.django_db(transaction=True)
def test_two_admins_who_step_down_at_once_leave_one() -> None:
    users = [make_user("ann"), make_user("ben")]
    team = Team.objects.create(slug="pair", name="Pair")
    for user in users:
        Membership.objects.create(team=team, user=user, role=Role.ADMIN)
    start, refused = Barrier(2), []

    def step_down(index: int) -> None:
        start.wait()
        try:
            membership_set(team=team, user=users[index], role=Role.VIEWER, actor=users[index])
        except LastAdmin:
            refused.append(index)
        finally:
            connection.close()

    threads = [Thread(target=step_down, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert Membership.objects.filter(team=team, role=Role.ADMIN).count() == 1
