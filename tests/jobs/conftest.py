"""Jobs without a broker: what would be sent is collected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from celery import current_app
from django.utils import timezone

from accounts.models import User
from jobs.models import Job, JobState

MakeJob = Callable[..., Job]


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[int]]]:
    """Messages (kind, [job id, attempt]) that reached the broker's door."""
    messages: list[tuple[str, list[int]]] = []
    monkeypatch.setattr(current_app, "send_task", lambda kind, args: messages.append((kind, args)))
    return messages


@pytest.fixture
def make_job(db: None) -> MakeJob:
    def make(owner: User | None = None, state: str = JobState.QUEUED, **fields: object) -> Job:
        number = Job.objects.count() + 1
        values = {
            "kind": "test.work",
            "subject_id": number,
            "label": f"Work {number}",
            "lease_until": timezone.now() + timedelta(seconds=30),
        }
        return Job.objects.create(owner=owner, state=state, **(values | fields))

    return make
