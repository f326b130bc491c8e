"""The operator's pages: workers and queue, storage, metrics. Staff only; for others they do not exist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from accounts.bearer import BadToken, CsrfFailed, caller_of
from accounts.models import Scope, User
from accounts.paging import page_by_id
from accounts.problems import problem, unauthorized
from jobs.access import job_for_user
from jobs.metrics import metrics_text
from jobs.models import Device, Job, JobState, Worker
from jobs.queue import QueueState, duration, queue_figures, queue_state, waiting_reason
from jobs.services import job_requeue, job_retry, worker_drain
from jobs.storage import storage_measure

View = Callable[..., HttpResponse]


def staff_only(view: View) -> View:
    """Anonymous people are asked to sign in; everybody else who is no operator gets 404."""

    @login_required
    @wraps(view)
    def checked(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if not request.user.is_staff:
            raise Http404
        return view(request, *args, **kwargs)

    return checked


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job in the operator's list, with why it waits."""

    job: Job
    reason: str


@staff_only
@never_cache
@require_GET
def workers(request: HttpRequest) -> HttpResponse:
    """`?state=` narrows the list of jobs, `?before=` pages it."""
    state = request.GET.get("state", "")
    if state not in JobState.values:
        state = ""
    page = page_by_id(Job.objects.listed(state), request.GET)
    queue = queue_state()
    context = {
        "workers": Worker.objects.select_related("job"),
        "devices": Device.objects.defer("cost"),
        "figures": queue_figures(),
        "queue": queue,
        "typical_wait": "" if queue.typical_wait is None else duration(queue.typical_wait),
        "page": page,
        "rows": _rows(page.rows, queue),
        "state": state,
        "states": JobState.choices,
        "nav": "operate",
        "tab": "workers",
    }
    return render(request, "jobs/workers.html", context)


def _rows(jobs: list[Job], queue: QueueState) -> list[JobRow]:
    return [JobRow(job, waiting_reason(job, queue)) for job in jobs]


@staff_only
@require_POST
def drain(request: HttpRequest, pk: int) -> HttpResponse:
    """draining=1 lets a worker end what it does and take nothing new; draining=0 lets it go on."""
    assert isinstance(request.user, User)
    worker = get_object_or_404(Worker, pk=pk)
    draining = request.POST.get("draining") == "1"
    worker_drain(worker=worker, draining=draining, actor=request.user)
    text = _("%(worker)s ends what it does and takes nothing new.") if draining else _("%(worker)s takes work again.")
    messages.success(request, text % {"worker": worker.name})
    return redirect("jobs:workers")


@staff_only
@require_POST
def requeue(request: HttpRequest, pk: int) -> HttpResponse:
    """A live job is taken from its worker and sent again; one that ended badly starts anew."""
    job = job_for_user(request.user, pk)
    if job.is_live:
        done = job_requeue(job=job)
    else:
        done = job.can_retry and job_retry(job=job) is not None
    if done:
        messages.success(request, _("%(job)s is queued again.") % {"job": job.label})
    else:
        messages.info(request, _("%(job)s changed meanwhile; look again.") % {"job": job.label})
    return redirect("jobs:workers")


@staff_only
@never_cache
@require_GET
def storage(request: HttpRequest) -> HttpResponse:
    return render(request, "jobs/storage.html", {"storage": storage_measure(), "nav": "operate", "tab": "storage"})


@never_cache
@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    """For an operator's session, or a token of an operator with operate:read.

    The address of the caller opens nothing: behind a proxy on the same machine everybody comes from localhost.
    """
    try:
        caller = caller_of(request)
    except (BadToken, CsrfFailed) as error:
        return unauthorized(str(error))
    if caller is None:
        return unauthorized("Metrics need an operator's session or token.")
    if not caller.user.is_staff or not caller.may(Scope.OPERATE_READ):
        return problem(
            403, code="permission_denied", title="Metrics are for operators.", fix=f"Use an operator's token with {Scope.OPERATE_READ}."
        )
    return HttpResponse(metrics_text(), content_type=CONTENT_TYPE_LATEST)
