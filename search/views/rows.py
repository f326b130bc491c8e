"""One row's evidence: the drawer of the board, and the same as a page of its own."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from search.access import candidate_for_user, search_for_user
from search.evidence import evidence
from search.views.pages import is_partial, person, signed_in


@signed_in
@require_GET
def row(request: HttpRequest, pk: int, candidate_pk: int) -> HttpResponse:
    user = person(request)
    search = search_for_user(user, pk)
    candidate = candidate_for_user(user, pk, candidate_pk)
    context = {
        "search": search,
        "candidate": candidate,
        "evidence": evidence(user, candidate, search),
        "mine": search.owner_id == user.pk,
        "nav": "searches",
    }
    return render(request, "search/_row_drawer.html" if is_partial(request) else "search/row_page.html", context)
