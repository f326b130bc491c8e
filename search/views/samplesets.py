"""Pages of sample sets: list, new, detail with its live check, corrections, retention, sharing, deletion."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.paging import page_by_id
from accounts.sizes import size_text
from gpuworker.core.errors import UserError
from gpuworker.core.specs import MODALITIES
from jobs.models import Job
from jobs.services import job_waiting_reason
from search.access import sampleset_for_user
from search.dispatch import SAMPLESET_CHECK
from search.forms import NewSampleSetForm, ReadingForm, RetainForm, ShareForm
from search.models import SampleSet, SampleSetState
from search.previews import previews
from search.samplesets import (
    Footprint,
    retention_limit,
    sampleset_create,
    sampleset_delete,
    sampleset_footprint,
    sampleset_recheck,
    sampleset_retain,
    sampleset_share,
)
from search.views.pages import mended, person, signed_in

PAGE = 30
PREVIEWS = {"image": 24, "text": 8, "series": 6, "table": 10, "pair": 6}
PROBLEMS = 50
ENDINGS = ",".join(sorted({ending for spec in MODALITIES.values() for ending in spec.extensions}))


@signed_in
@require_GET
def sampleset_list(request: HttpRequest) -> HttpResponse:
    """Own and shared sets, the newest first; demo sets stand apart on the first page."""
    user = person(request)
    visible = SampleSet.objects.visible_to(user).exclude(state=SampleSetState.DELETED)
    rows = visible.filter(demo=False).select_related("owner", "shared_with").annotate(n_searches=Count("searches"))
    page = page_by_id(_light(rows), request.GET, size=PAGE)
    demos = _light(visible.filter(demo=True, state=SampleSetState.READY)) if not page.newest else SampleSet.objects.none()
    return render(request, "search/sampleset_list.html", {"page": page, "demos": demos, "nav": "samples"})


def _light(rows: QuerySet[SampleSet]) -> QuerySet[SampleSet]:
    """Without the columns that only the detail page shows."""
    return rows.defer("problems", "signature", "guess", "meta")


@signed_in
@require_http_methods(["GET", "POST"])
def sampleset_new(request: HttpRequest) -> HttpResponse:
    """Drop files; a POST takes the finished uploads (`uploads`, any number) into a new set. `then=search` goes on to the match."""
    form = NewSampleSetForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = sampleset_create(owner=person(request), name=form.cleaned_data["name"], uploads=form.uploads())
        except UserError as error:
            form.add_error(None, error.text)
            return render(request, "search/sampleset_new.html", _new_context(form), status=422)
        if form.cleaned_data["then"] == "search":
            return redirect(f"{reverse('search:search_new')}?samples={made.pk}")
        return redirect(made)
    return render(request, "search/sampleset_new.html", _new_context(form))


def _new_context(form: NewSampleSetForm) -> dict[str, object]:
    return {"form": form, "nav": "samples", **uploader_context()}


def uploader_context() -> dict[str, object]:
    """What the drop zone states before anything is chosen."""
    return {
        "accept": ENDINGS,
        "max_bytes": settings.UPLOAD_MAX_BYTES,
        "modalities": list(MODALITIES.values()),
        "limits": _("Up to %(size)s a file, any number of files. Deleted after %(days)d days, with all that derives from them.")
        % {"size": size_text(settings.UPLOAD_MAX_BYTES), "days": settings.SAMPLE_RETENTION_DAYS},
    }


@signed_in
@require_GET
def sampleset_detail(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    sample_set = sampleset_for_user(user, pk)
    mine = sample_set.owner_id == user.pk and not sample_set.demo
    reading = ReadingForm.of(sample_set)
    shown, more = reading.shown(sample_set.modality)
    count = min(sample_set.n, PREVIEWS.get(sample_set.modality, 8))
    context = {
        "sample_set": sample_set,
        "mine": mine,
        "waiting": waiting_text(sample_set),
        "items": [(index, item) for index, item in enumerate(previews(sample_set, list(range(count)))) if item],
        "problems": sample_set.problems[:5],
        "reading": reading,
        "reading_shown": shown,
        "reading_more": more,
        "searches": sample_set.searches.visible_to(user).order_by("-pk")[:5],
        "files": sample_set.files.all()[:20],
        "n_files": sample_set.files.count(),
        "retain_form": RetainForm(initial={"until": sample_set.retain_until}),
        "retain_limit": retention_limit(),
        "share_form": ShareForm(user=user, initial=sample_set.shared_with) if mine else None,
        "footprint": sampleset_footprint(sample_set) if mine else None,
        "nav": "samples",
    }
    return render(request, "search/sampleset_detail.html", context)


def waiting_text(sample_set: SampleSet) -> dict[str, object]:
    """Progress of the check: how far, what it does, or why it waits."""
    if sample_set.state != SampleSetState.CHECKING:
        return {}
    job = Job.objects.filter(kind=SAMPLESET_CHECK, subject_id=sample_set.pk).order_by("-pk").first()
    if job is None:
        return {"text": _("Waiting for a worker.")}
    return {"job": job, "text": job.progress_text or job_waiting_reason(job) or _("Waiting for a worker.")}


@signed_in
@require_GET
def sampleset_status(request: HttpRequest, pk: int) -> HttpResponse:
    """Polled while the check runs; when it has ended the page is asked to load itself again, once."""
    sample_set = sampleset_for_user(person(request), pk)
    response = render(request, "search/_sampleset_status.html", {"sample_set": sample_set, "waiting": waiting_text(sample_set)})
    if sample_set.state != SampleSetState.CHECKING:
        response["HX-Refresh"] = "true"
    return response


@signed_in
@require_GET
def sampleset_problems(request: HttpRequest, pk: int) -> HttpResponse:
    """Every file or row that could not be used, with its reason."""
    sample_set = sampleset_for_user(person(request), pk)
    page = Paginator(sample_set.problems, PROBLEMS).get_page(request.GET.get("page"))
    return render(request, "search/sampleset_problems.html", {"sample_set": sample_set, "page": page, "nav": "samples"})


@signed_in
@require_POST
@mended
def sampleset_options(request: HttpRequest, pk: int) -> HttpResponse:
    """Correct what was guessed and read the files again."""
    sample_set = sampleset_for_user(person(request), pk, edit=True)
    form = ReadingForm(request.POST)
    if not form.is_valid():
        messages.error(
            request, " ".join(f"{form.fields[name].label}: {errors[0]}" for name, errors in form.errors.items() if name in form.fields)
        )
        return redirect(sample_set)
    read = sampleset_recheck(sample_set=sample_set, actor=person(request), modality=form.cleaned_data["modality"], options=form.options())
    if read.pk != sample_set.pk:
        messages.info(request, _("Searches have used the old reading, so this is a new set of the same files."))
    return redirect(read)


@signed_in
@require_POST
@mended
def sampleset_extend(request: HttpRequest, pk: int) -> HttpResponse:
    sample_set = sampleset_for_user(person(request), pk, edit=True)
    form = RetainForm(request.POST)
    if form.is_valid():
        sampleset_retain(sample_set=sample_set, until=form.moment(), actor=person(request))
        messages.success(request, _("Kept until %(date)s.") % {"date": date_format(form.cleaned_data["until"], "j F Y")})
    else:
        messages.error(request, _("That is no date."))
    return redirect(sample_set)


@signed_in
@require_POST
def sampleset_sharing(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    sample_set = sampleset_for_user(user, pk, edit=True)
    form = ShareForm(request.POST, user=user)
    if form.is_valid():
        team = form.cleaned_data["team"]
        sampleset_share(sample_set=sample_set, team=team, actor=user)
        messages.success(request, _("Shared with %(team)s.") % {"team": team} if team else _("Private again."))
    else:
        messages.error(request, _("You are not in that team."))
    return redirect(sample_set)


@signed_in
@require_http_methods(["GET", "POST"])
def sampleset_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """GET shows what would go, POST deletes it."""
    sample_set = sampleset_for_user(person(request), pk, edit=True)
    if request.method == "POST":
        gone = sampleset_delete(sample_set=sample_set, actor=person(request))
        messages.success(request, _deleted_text(sample_set.name, gone))
        return redirect("search:sampleset_list")
    context = {"sample_set": sample_set, "footprint": sampleset_footprint(sample_set), "nav": "samples"}
    return render(request, "search/sampleset_delete.html", context)


def _deleted_text(name: str, gone: Footprint) -> str:
    searches = ngettext("%(n)d search", "%(n)d searches", gone.searches) % {"n": gone.searches}
    return _("%(name)s is deleted, with %(searches)s: %(size)s freed.") % {
        "name": name,
        "searches": searches,
        "size": size_text(gone.bytes),
    }
