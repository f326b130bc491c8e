"""A new search: choose samples, see at once how many models qualify, start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from gpuworker.core.errors import UserError
from gpuworker.core.specs import DROP_LEVEL
from search.access import sampleset_for_user
from search.candidates import FIELDS, Outlook, outlook
from search.constraints import Constraints
from search.forms import ConstraintChoices, SearchForm
from search.models import SampleSet, SampleSetState
from search.selection import select
from search.services import DEFAULT_SCORERS, search_start
from search.views.pages import person, signed_in, tell
from search.views.samplesets import uploader_context, waiting_text

RECENT = 8


@signed_in
@require_http_methods(["GET", "POST"])
def search_new(request: HttpRequest) -> HttpResponse:
    """Without `samples` a choice of sample sets; with it the constraints, taken from the address where they stand there."""
    chosen = request.POST.get("samples") or request.GET.get("samples")
    if not chosen:
        return _choose(request)
    sample_set = sampleset_for_user(person(request), _number(chosen))
    if sample_set.state != SampleSetState.READY:
        return render(
            request, "search/search_new_wait.html", {"sample_set": sample_set, "waiting": waiting_text(sample_set), "nav": "searches"}
        )
    if request.method == "POST":
        return _start(request, sample_set)
    data = request.GET if any(name in request.GET for name in _names()) else None
    form, found = _form(request, sample_set, data)
    return render(request, "search/search_new.html", _context(sample_set, form, found))


def _names() -> Iterable[str]:
    return ("name", "n_samples", "metric", "metric_label", "drop", "scorers", *FIELDS.values())


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _choose(request: HttpRequest) -> HttpResponse:
    visible = (
        SampleSet.objects.visible_to(person(request)).filter(state=SampleSetState.READY).defer("problems", "signature", "guess", "meta")
    )
    context = {
        "recent": visible.filter(demo=False)[:RECENT],
        "demos": visible.filter(demo=True)[:RECENT],
        "nav": "searches",
        **uploader_context(),
    }
    return render(request, "search/search_choose.html", context)


def _form(request: HttpRequest, sample_set: SampleSet, data: QueryDict | None) -> tuple[SearchForm, Outlook]:
    """The form with choices from the label space asked for, and what its constraints give (the widest where it is not valid)."""
    user = person(request)
    base = select(user, sample_set, Constraints(label_key=data.get("label_key", "") if data else ""))
    if not base.chosen and data and data.get("label_key"):
        base = select(user, sample_set, Constraints())
    form = SearchForm(data, sample_set=sample_set, selection=base, choices=ConstraintChoices(base))
    valid = data is not None and form.is_valid()
    constraints = form.constraints() if valid else Constraints(label_key=base.label_key)
    return form, outlook(user, sample_set, constraints, form.cleaned_data["n_samples"] if valid else None)


def _context(sample_set: SampleSet, form: SearchForm, found: Outlook) -> dict[str, Any]:
    return {"sample_set": sample_set, "form": form, "nav": "searches", **_outlook_context(sample_set, form, found)}


def _outlook_context(sample_set: SampleSet, form: SearchForm, found: Outlook) -> dict[str, Any]:
    """relax: for each reason with something to relax, the address of this form without it."""
    relax = [(item, _without(sample_set, form, item.field)) for item in found.relaxed]
    return {"sample_set": sample_set, "found": found, "relax": relax, "count": len(found.selection.chosen)}


def _without(sample_set: SampleSet, form: SearchForm, field: str) -> str:
    """The form's address with one constraint dropped, or with all of them when `field` is empty."""
    query = QueryDict(mutable=True)
    query["samples"] = str(sample_set.pk)
    usually = {"label_key": [form.usual_label_key], "metric": ["accuracy"], "drop": [str(DROP_LEVEL)]}
    for name in _names():
        values = [value for value in form.data.getlist(name) if value] if isinstance(form.data, QueryDict) else []
        usual = (name == "scorers" and set(values) == set(DEFAULT_SCORERS)) or values == usually.get(name)
        if field and name != field and values and not usual:
            query.setlist(name, values)
    return f"{reverse('search:search_new')}?{query.urlencode()}"


@signed_in
@require_POST
def search_count(request: HttpRequest) -> HttpResponse:
    """The live count as the form changes; the address follows, so that the form can be shared."""
    sample_set = sampleset_for_user(person(request), _number(request.POST.get("samples", "")))
    form, found = _form(request, sample_set, request.POST)
    response = render(request, "search/_selection.html", {"form": form, **_outlook_context(sample_set, form, found)})
    response["HX-Replace-Url"] = _without(sample_set, form, "-")
    return response


def _start(request: HttpRequest, sample_set: SampleSet) -> HttpResponse:
    form, found = _form(request, sample_set, request.POST)
    if not form.is_valid():
        return render(request, "search/search_new.html", _context(sample_set, form, found), status=422)
    try:
        search = search_start(
            owner=person(request),
            sample_set=sample_set,
            name=form.cleaned_data["name"],
            constraints=form.constraints(),
            scorers=form.cleaned_data["scorers"],
            n_samples=form.cleaned_data["n_samples"],
            metric=form.chosen_metric(),
            drop_level=form.drop_level(),
        )
    except UserError as error:
        tell(request, error)
        return render(request, "search/search_new.html", _context(sample_set, form, found), status=422)
    return redirect(search)
