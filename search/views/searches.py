"""The list of searches, the live board, and what can be done to a search."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from accounts.models import User
from accounts.paging import page_by_id
from search.access import candidate_for_user, search_for_user
from search.board import board_update, header_context
from search.candidates import outlook
from search.constraints import Constraints
from search.difference import difference
from search.forms import ShareForm
from search.metrics import metric_name
from search.models import CandidateState, SampleSetState, Search, SearchState
from search.plots.board import board_plots
from search.removal import search_delete
from search.rows import board_candidates, board_columns
from search.services import candidate_retry, search_rerun, search_share, search_stop
from search.views.pages import mended, person, signed_in

PAGE = 30


@signed_in
@require_GET
def search_list(request: HttpRequest) -> HttpResponse:
    """Own and shared searches, the newest first; `state` filters. While one is live the table asks again every few seconds."""
    user = person(request)
    rows = Search.objects.visible_to(user).select_related("owner", "sample_set").annotate(n_candidates=Count("candidates"))
    state = request.GET.get("state", "")
    if state in SearchState.values:
        rows = rows.filter(state=state)
    page = page_by_id(rows.defer("excluded", "constraints"), request.GET, size=PAGE)
    context = {
        "page": page,
        "state": state,
        "states": SearchState.choices,
        "live": any(search.is_live for search in page.rows),
        "has_samples": bool(page.rows) or _has_samples(user),
        "nav": "searches",
    }
    return render(request, "search/search_list.html", context)


def _has_samples(user: User) -> bool:
    return user.sample_sets.filter(state=SampleSetState.READY).exists()


@signed_in
@require_GET
def search_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """The live board. The number in `data-seq` is read before the rows, so that nothing between the two is missed."""
    user = person(request)
    search = search_for_user(user, pk)
    mine = search.owner_id == user.pk
    context = {
        **header_context(search),
        "candidates": list(board_candidates(search)),
        "columns": board_columns(search),
        "states": CandidateState.values,
        "asked_metric": metric_name(search.metric),
        "mine": mine,
        "share_form": ShareForm(user=user, initial=search.shared_with) if mine else None,
        "reports": search.reports.select_related("created_by").defer("payload")[:5],
        "added_since": _added_since(user, search) if not search.is_live else 0,
        "difference": difference(search) if search.rerun_of_id and not search.is_live else None,
        "nav": "searches",
    }
    return render(request, "search/search_detail.html", context)


def _added_since(user: User, search: Search) -> int:
    """How many models a re-run would add: those that qualify today and were not candidates then."""
    if search.sample_set.state != SampleSetState.READY:
        return 0
    chosen = outlook(user, search.sample_set, Constraints.from_json(search.constraints)).selection.chosen
    known = set(search.candidates.values_list("version_id", flat=True))
    return sum(version.pk not in known for version in chosen)


@signed_in
@require_GET
def search_updates(request: HttpRequest, pk: int) -> HttpResponse:
    """Polling fallback: what the socket would have sent after event `after`."""
    after = request.GET.get("after", "0")
    number = int(after) if after.isascii() and after.isdecimal() and len(after) < 19 else 0
    return JsonResponse(board_update(request.user, pk, number))


@signed_in
@require_GET
def search_plots(request: HttpRequest, pk: int) -> HttpResponse:
    """Interval plot, frontier and agreement matrix as a partial, fetched after the board and again as it changes."""
    search = search_for_user(person(request), pk)
    shown = [plot for plot in board_plots(search) if plot.rows]
    return render(request, "search/_plots.html", {"plots": shown})


@signed_in
@require_POST
def stop(request: HttpRequest, pk: int) -> HttpResponse:
    search = search_for_user(person(request), pk, edit=True)
    search_stop(search=search, actor=person(request))
    messages.success(request, _("Stopping; what has been measured is kept."))
    return redirect(search)


@signed_in
@require_POST
@mended
def rerun(request: HttpRequest, pk: int) -> HttpResponse:
    """The same question with the models of today; anybody who sees the search may, and owns the new one."""
    search = search_for_user(person(request), pk)
    return redirect(search_rerun(search=search, actor=person(request)))


@signed_in
@require_POST
@mended
def retry(request: HttpRequest, pk: int, candidate_pk: int) -> HttpResponse:
    search = search_for_user(person(request), pk, edit=True)
    candidate = candidate_for_user(person(request), pk, candidate_pk)
    candidate_retry(candidate=candidate, actor=person(request))
    messages.success(request, _("%(model)s is tried again.") % {"model": candidate.version.model.title})
    return redirect(search)


@signed_in
@require_POST
def sharing(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    search = search_for_user(user, pk, edit=True)
    form = ShareForm(request.POST, user=user)
    if form.is_valid():
        team = form.cleaned_data["team"]
        search_share(search=search, team=team, actor=user)
        messages.success(request, _("Shared with %(team)s.") % {"team": team} if team else _("Private again."))
    else:
        messages.error(request, _("You are not in that team."))
    return redirect(search)


@signed_in
@require_POST
@mended
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    search = search_for_user(person(request), pk, edit=True)
    search_delete(search=search, actor=person(request))
    messages.success(request, _("%(name)s is deleted.") % {"name": search.name})
    return redirect("search:search_list")
