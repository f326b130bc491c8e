"""The only way to fetch a job by its id."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import Http404

from accounts.models import User
from jobs.models import Job


def job_for_user(user: User | AnonymousUser, pk: int) -> Job:
    """A person's own job; staff may look after everybody's. For anyone else it does not exist."""
    if not isinstance(user, User):
        raise Http404
    jobs = Job.objects.select_related("owner")
    job = (jobs if user.is_staff else jobs.filter(owner=user)).filter(pk=pk).first()
    if job is None:
        raise Http404
    return job
