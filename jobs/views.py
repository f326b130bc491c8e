"""A person's own jobs: the tray, one job, cancel and retry."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.models import User
from jobs.access import job_for_user
from jobs.models import Job
from jobs.queue import explain
from jobs.services import job_cancel, job_retry, job_waiting_reason


@never_cache
@require_GET
def tray(request: HttpRequest) -> HttpResponse:
    """The partial in the header's tray: live jobs and those that ended within a day.

    Signed out is 401, not the sign-in page, which would be shown inside the tray.
    """
    if not isinstance(request.user, User):
        return HttpResponse(status=401)
    rows = explain(Job.objects.tray(request.user.pk))
    live = sum(job.is_live for job, _reason in rows)
    return render(request, "jobs/_tray.html", {"rows": rows, "live": live})


@login_required
@never_cache
@require_GET
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    job = job_for_user(request.user, pk)
    return render(request, "jobs/detail.html", {"job": job, "reason": job_waiting_reason(job)})


@login_required
@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    job = job_for_user(request.user, pk)
    if job.is_live:
        job_cancel(job=job)
        messages.success(request, _("%(job)s is being cancelled.") % {"job": job.label})
    else:
        messages.info(request, _("%(job)s has ended already.") % {"job": job.label})
    return _back(request, job)


@login_required
@require_POST
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    job = job_for_user(request.user, pk)
    if job.can_retry:
        job = job_retry(job=job)
        messages.success(request, _("%(job)s is queued again.") % {"job": job.label})
    else:
        messages.info(request, _("There is nothing to try again: %(state)s.") % {"state": job.get_state_display()})
    return _back(request, job)


def _back(request: HttpRequest, job: Job) -> HttpResponse:
    """Where the person came from, if that is a page of ours."""
    after = request.POST.get("next", "")
    if after and url_has_allowed_host_and_scheme(after, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        return redirect(after)
    return redirect("jobs:detail", job.pk)
