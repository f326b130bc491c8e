"""Races over memberships, on real transactions."""

from __future__ import annotations

from contextlib import suppress
from threading import Barrier, BrokenBarrierError, Thread

import pytest
from django.db import connection

from accounts import services
from accounts.models import AuditEvent, Membership, Role, Team, audit
from accounts.services import LastAdmin, membership_set
from tests.conftest import make_user


@pytest.mark.django_db(transaction=True)
def test_two_admins_who_step_down_at_once_leave_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits, before it commits, for the other to have passed the check too; the lock lets only one get there."""
    both_passed = Barrier(2)

    def wait_then_audit(*args: object, **fields: object) -> AuditEvent:
        with suppress(BrokenBarrierError):
            both_passed.wait(2)
        return audit(*args, **fields)  # type: ignore[arg-type]

    monkeypatch.setattr(services, "audit", wait_then_audit)
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
