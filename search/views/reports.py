"""Reports and exports of a board."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from search.access import report_for_user, search_for_user
from search.exports import board_csv, board_document
from search.models import Search
from search.reports import ReportDocument, report_create
from search.views.pages import mended, person, signed_in


@signed_in
@require_http_methods(["GET", "POST"])
@mended
def report_list(request: HttpRequest, pk: int) -> HttpResponse:
    """POST freezes the board of now; GET lists what was frozen. Whoever sees the search may do both."""
    search = search_for_user(person(request), pk)
    if request.method == "POST":
        report = report_create(search=search, actor=person(request))
        return redirect("search:report", search.pk, report.pk)
    reports = search.reports.select_related("created_by").defer("payload")[:100]
    return render(request, "search/report_list.html", {"search": search, "reports": reports, "nav": "searches"})


@signed_in
@require_GET
def report(request: HttpRequest, pk: int, report_pk: int) -> HttpResponse:
    found = report_for_user(person(request), pk, report_pk)
    document: ReportDocument = found.payload
    context = {
        "search": found.search,
        "report": found,
        "document": document,
        "board": document["board"],
        "snippet": download_snippet(document, request.build_absolute_uri),
        "nav": "searches",
    }
    return render(request, "search/report.html", context)


def download_snippet(document: ReportDocument, absolute: Callable[[str], str]) -> str:
    """Shell lines that fetch the leading version's files and check them; empty where no file was kept."""
    if not document["pinned"]:
        return ""
    first = document["pinned"][0]
    lines = [f"# {first['team']}/{first['name']} v{first['number']}"]
    for file in first["files"]:
        name = _plain(file["name"])
        url = absolute(reverse("api-file", args=[first["team"], first["name"], first["number"], file["file"]]))
        lines.append(f'curl -fL -H "Authorization: Bearer $MODELSHOP_TOKEN" -o {name} {url}')
        lines.append(f"echo '{file['sha256']}  {name}' | sha256sum -c -")
    return "\n".join(lines) if first["files"] else ""


def _plain(name: str) -> str:
    """A file name that is safe to paste into a shell, whatever its publisher called the file."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name.rsplit("/", 1)[-1]).lstrip("-.") or "model"


@signed_in
@require_GET
def export_csv(request: HttpRequest, pk: int) -> HttpResponse:
    search = search_for_user(person(request), pk)
    response = HttpResponse(board_csv(board_document(search)), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{_file_name(search)}.csv"'
    return response


@signed_in
@require_GET
def export_json(request: HttpRequest, pk: int) -> HttpResponse:
    search = search_for_user(person(request), pk)
    response = JsonResponse(board_document(search), json_dumps_params={"indent": 1})
    response["Content-Disposition"] = f'attachment; filename="{_file_name(search)}.json"'
    return response


def _file_name(search: Search) -> str:
    return f"search-{search.pk}-board"
