"""Labelling a few samples of a search, one at a time: the page, and the pieces that scripts put in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from accounts.models import User
from accounts.sizes import size_text
from catalog.access import team_for_publisher
from gpuworker.core.errors import UserError
from gpuworker.core.labelling import verdict
from search.access import labelled_search_for_user, search_for_user
from search.evidence import samples_visible
from search.labelling import Ask, CannotLabel, Round, confirmation_calibrates, label_give, label_take_back, round_of
from search.labelling_models import Confirmation
from search.labelling_probes import LEAST_ROWS, confirmation_give, confirmation_take_back, gift_of
from search.labelling_residuals import residuals_of
from search.models import Candidate, Search
from search.previews import previews
from search.views.pages import is_partial, person, signed_in, tell

SHOWN = 8
BUTTONS = 9  # labels that get keys by their number; more than these get a field to find them by
DIGITS = tuple("0123456789")


@dataclass(frozen=True, slots=True)
class Standing:
    """One leader. Percentages are 0..100."""

    candidate: Candidate
    value: float
    low: float
    high: float
    near_best: float


@dataclass(frozen=True, slots=True)
class Choice:
    """A label to press; key: the keyboard's, "" where there are more labels than keys."""

    number: int
    name: str
    key: str


@signed_in
@require_GET
def search_confirm(request: HttpRequest, pk: int) -> HttpResponse:
    user = person(request)
    search = search_for_user(user, pk)
    return render(request, "search/confirm.html", _context(user, search) | {"nav": "searches"})


@signed_in
@require_POST
def confirm_label(request: HttpRequest, pk: int) -> HttpResponse:
    """`ticket`: of the sample shown. `label`: its number, empty for "cannot tell"."""
    user = person(request)
    search = labelled_search_for_user(user, pk)
    number = request.POST.get("label", "")
    try:
        if number and not (number.isascii() and number.isdecimal() and len(number) < 7):
            raise CannotLabel("A label is given by its number.", fix="Press one of the labels below.")
        label_give(search=search, actor=user, ticket=request.POST.get("ticket", ""), label=int(number) if number else None)
    except CannotLabel as error:
        return _answer(request, user, search, error)
    return _answer(request, user, search)


@signed_in
@require_POST
def confirm_undo(request: HttpRequest, pk: int) -> HttpResponse:
    """Take back the person's last word."""
    user = person(request)
    search = labelled_search_for_user(user, pk)
    try:
        label_take_back(search=search, actor=user)
    except CannotLabel as error:
        return _answer(request, user, search, error)
    return _answer(request, user, search)


@signed_in
@require_POST
def confirm_use(request: HttpRequest, pk: int) -> HttpResponse:
    """`calibrates`: whether the labels may show how far predictions were off."""
    user = person(request)
    search = search_for_user(user, pk, edit=True)
    confirmation_calibrates(search=search, actor=user, calibrates=request.POST.get("calibrates") == "on")
    messages.success(request, _("Saved."))
    return redirect("search:search_confirm", search.pk)


@signed_in
@require_POST
def confirm_give(request: HttpRequest, pk: int) -> HttpResponse:
    """`team`: the short name of the team whose probe set the labelled samples are given to."""
    user = person(request)
    search = search_for_user(user, pk, edit=True)
    team = team_for_publisher(user, request.POST.get("team", "").replace("\0", ""))
    try:
        piece = confirmation_give(search=search, team=team, actor=user)
    except UserError as error:
        tell(request, error)
    else:
        text = ngettext("%(n)s labelled sample is given to %(team)s.", "%(n)s labelled samples are given to %(team)s.", piece.n)
        messages.success(request, text % {"n": piece.n, "team": piece.team})
    return redirect("search:search_confirm", search.pk)


@signed_in
@require_POST
def confirm_take_back(request: HttpRequest, pk: int) -> HttpResponse:
    """Withdraw the labelled samples that were given."""
    user = person(request)
    search = search_for_user(user, pk, edit=True)
    freed = confirmation_take_back(search=search, actor=user)
    messages.success(request, _("Withdrawn: the kept rows are deleted, %(size)s freed.") % {"size": size_text(freed)})
    return redirect("search:search_confirm", search.pk)


def _answer(request: HttpRequest, user: User, search: Search, error: UserError | None = None) -> HttpResponse:
    """The piece of the page that changed, for scripts; the whole page for everybody else."""
    if not is_partial(request):
        if error is not None:
            tell(request, error)
        return redirect("search:search_confirm", search.pk)
    return render(request, "search/_confirm_answer.html", _context(user, search) | {"refused": error})


def _context(user: User, search: Search) -> dict[str, Any]:
    visible = samples_visible(user, search.sample_set)
    confirmation = Confirmation.objects.filter(search=search).first()
    mine = search.owner_id == user.pk
    shared: dict[str, Any] = {"search": search, "visible": visible, "confirmation": confirmation, "mine": mine, "least_rows": LEAST_ROWS}
    try:
        found = round_of(search)
    except CannotLabel as error:
        return shared | {"problem": error, "gift": gift_of(search, None, user) if mine else None}
    ask = found.ask(user) if visible else None
    off = [abs(residual.off) for residual in residuals_of(found)]
    own = [row for row in found.given if row.person_id == user.pk]
    return shared | {
        "ask": ask,
        "item": _item(search, ask),
        "choices": (shown := choices(search)),
        "many": not shown[0].key,
        "standings": standings(found),
        "verdict": verdict(found.belief),
        "leader": found.candidates[found.belief.leader],
        "gift": gift_of(search, found, user) if mine else None,
        "n": len(found.labels),
        "samples": found.contest.samples,
        "last": own[-1] if own else None,
        "last_label": _name(search, own[-1].label) if own else "",
        "n_skipped": sum(row.label is None for row in own),
        "n_disputed": len(found.disputed),
        "off": 100 * sum(off) / len(off) if off else None,
        "people": sorted({row.person.username for row in found.given if row.label is not None}),
    }


def _item(search: Search, ask: Ask | None) -> dict[str, Any] | None:
    return None if ask is None else previews(search.sample_set, [ask.item])[0]


def _name(search: Search, label: int | None) -> str:
    return "" if label is None else str(search.labels[label])


def choices(search: Search) -> list[Choice]:
    """Keys are the labels' numbers, or the labels themselves where all of them are digits; none where there are more labels than keys."""
    names = [str(name) for name in search.labels]
    if all(name in DIGITS for name in names):
        return [Choice(number, name, name) for number, name in enumerate(names)]
    return [Choice(number, name, str(number + 1) if len(names) <= BUTTONS else "") for number, name in enumerate(names)]


def standings(found: Round) -> list[Standing]:
    """The first by what is known now."""
    belief = found.belief
    low, high = belief.interval
    return [
        Standing(
            found.candidates[place],
            round(100 * float(belief.mean[place]), 2),
            round(100 * float(low[place]), 2),
            round(100 * float(high[place]), 2),
            round(100 * float(belief.near_best[place])),
        )
        for place in found.order[:SHOWN]
    ]
