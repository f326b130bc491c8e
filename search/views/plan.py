"""How the candidates of a search run, and what that costs."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from search.access import search_for_user
from search.execution import execution_of
from search.plots.plan import plan_plot
from search.views.pages import person, signed_in


@signed_in
@require_GET
def search_plan(request: HttpRequest, pk: int) -> HttpResponse:
    search = search_for_user(person(request), pk)
    execution = execution_of(search)
    context = {"search": search, "execution": execution, "plot": plan_plot(execution) if execution else None, "nav": "searches"}
    return render(request, "search/search_plan.html", context)
