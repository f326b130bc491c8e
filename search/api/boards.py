"""REST API of a board: rows, evidence, plots, disputed samples, exports, reports."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from catalog.api.serializers import ProblemSerializer
from search.access import candidate_for_user, report_for_user, search_for_user
from search.api.samplesets import NOT_FOUND, REFUSED, api_user, query_number
from search.api.searches import detail
from search.api.serializers import (
    BoardSerializer,
    CandidateDetailSerializer,
    CandidateSerializer,
    DifferenceSerializer,
    DisputedPageSerializer,
    ExecutionSerializer,
    MarkTableSerializer,
    ReportDetailSerializer,
    ReportSerializer,
    SearchDetailSerializer,
)
from search.difference import difference
from search.evidence import evidence
from search.execution import execution_of
from search.exports import board_csv, board_document, board_row, board_rows
from search.models import SearchState
from search.plots.board import board_plots
from search.plots.svg import Plot
from search.predictions import answers_of, disputed, disputed_order, leaders
from search.reports import report_create
from search.rows import rank_of
from search.services import candidate_retry

EVENTS = 500
DISPUTED = 50
AFTER = OpenApiParameter("after", int, description="Number of the last event seen; 0 for all.")
STATE = OpenApiParameter("state", str, enum=SearchState.values)


class CandidatesView(APIView):
    """All rows of the board, best first."""

    scope = "search"

    @extend_schema(responses={200: CandidateSerializer(many=True), **NOT_FOUND})
    def get(self, request: Request, pk: int) -> Response:
        search = search_for_user(request.user, pk)
        return Response(CandidateSerializer(board_rows(search), many=True).data)


class CandidateView(APIView):
    """One row with its evidence."""

    scope = "search"

    @extend_schema(responses={200: CandidateDetailSerializer, **NOT_FOUND})
    def get(self, request: Request, pk: int, candidate_pk: int) -> Response:
        search = search_for_user(request.user, pk)
        candidate = candidate_for_user(request.user, pk, candidate_pk)
        found = evidence(request.user, candidate, search)
        told = []
        for item in (*found.told, *found.untold):
            said = candidate.scores.get(item.spec.key) or candidate.prior_scores.get(item.spec.key) or {}
            figures: dict[str, Any] = {name: said.get(name) for name in ("value", "low", "high")}
            words = {"label": item.spec.label, "help": item.spec.help, "source": item.spec.source, "why": item.cell.why}
            told.append({"scorer": item.spec.key, "grade": item.grade, **figures, **words})
        document = {
            "row": board_row(candidate, rank_of(candidate, search)),
            "history": candidate.history,
            "predicted_balance": candidate.predicted_balance,
            "told": told,
            "plots": [plot_table(plot) for plot in found.plots],
            "disagreements": [asdict(odd) for odd in found.odd],
            "n_disagreements": found.n_odd,
            "calibration": asdict(found.calibration) if found.calibration else None,
            "uncalibrated": found.uncalibrated,
            "warnings": list(found.warnings),
            "error_fix": candidate.error_fix,
        }
        return Response(CandidateDetailSerializer(document).data)


def plot_table(plot: Plot) -> dict[str, Any]:
    fields = asdict(plot)
    return {name: fields[name] for name in ("key", "title", "description", "columns", "rows", "note")}


class CandidateRetryView(APIView):
    """Try a failed row again."""

    scope = "search"

    @extend_schema(request=None, responses={202: SearchDetailSerializer, **REFUSED})
    def post(self, request: Request, pk: int, candidate_pk: int) -> Response:
        """Once the search has ended; 422 while it runs."""
        search = search_for_user(request.user, pk, edit=True)
        candidate_retry(candidate=candidate_for_user(request.user, pk, candidate_pk), actor=api_user(request))
        search.refresh_from_db()
        return Response(detail(search), status=status.HTTP_202_ACCEPTED)


class DifferenceView(APIView):
    """What changed since the search that this one repeats; 404 for a search that repeats none."""

    scope = "search"

    @extend_schema(responses={200: DifferenceSerializer, **NOT_FOUND})
    def get(self, request: Request, pk: int) -> Response:
        search = search_for_user(request.user, pk)
        found = difference(search)
        if found is None:
            raise NotFound("This search repeats no other.")
        document = {
            "earlier": found.earlier.pk,
            "added": [str(row.version.model) for row, _ in found.added],
            "gone": list(found.gone),
            "moved": [asdict(row) for row in found.moved],
        }
        return Response(DifferenceSerializer(document).data)


class ExecutionView(APIView):
    """How the candidates run as one plan, and what that costs; 404 where nothing was planned."""

    scope = "search"

    @extend_schema(responses={200: ExecutionSerializer, **NOT_FOUND})
    def get(self, request: Request, pk: int) -> Response:
        found = execution_of(search_for_user(request.user, pk))
        if found is None:
            raise NotFound("Nothing was planned for this search: its candidates run one by one, or it has not begun.")
        return Response(ExecutionSerializer(found).data)


class PlotsView(APIView):
    """Intervals, accuracy against latency, agreement of the leaders: the tables behind the plots."""

    scope = "search"

    @extend_schema(responses={200: MarkTableSerializer(many=True), **NOT_FOUND})
    def get(self, request: Request, pk: int) -> Response:
        search = search_for_user(request.user, pk)
        return Response(MarkTableSerializer([plot_table(plot) for plot in board_plots(search)], many=True).data)


class DisputedView(APIView):
    """Samples on which the leaders disagree, the most disputed first, 50 at a time."""

    scope = "search"

    @extend_schema(
        parameters=[
            OpenApiParameter("leaders", int, description="How many of the first rows vote, 2 to 30; 5 when left out."),
            OpenApiParameter("start", int, description="How many to skip."),
        ],
        responses={200: DisputedPageSerializer, 400: ProblemSerializer, **NOT_FOUND},
    )
    def get(self, request: Request, pk: int) -> Response:
        search = search_for_user(request.user, pk)
        count = min(max(query_number(request, "leaders", 5), 2), 30)
        start = query_number(request, "start", 0)
        answers = answers_of(search, leaders(search, count))
        order, share = disputed_order(answers)
        samples = []
        for index in order[start : start + DISPUTED].tolist():
            split = disputed(answers, index, float(share[index]))
            votes = [
                {
                    "candidate": answers.candidates[place].pk,
                    "label": search.labels[label],
                    "confidence": float(answers.confidence[place, index]),
                }
                for label, places in split.votes
                for place in places
            ]
            samples.append({"index": index, "dissent": split.share, "votes": votes})
        page = {"n": answers.n, "n_disputed": int((share > 0).sum()), "leaders": [row.pk for row in answers.candidates], "samples": samples}
        return Response(DisputedPageSerializer(page).data)


class ExportJsonView(APIView):
    """The board as one JSON document."""

    scope = "search"

    @extend_schema(responses={200: BoardSerializer, **NOT_FOUND})
    def get(self, request: Request, pk: int) -> Response:
        return Response(board_document(search_for_user(request.user, pk)))


class ExportCsvView(APIView):
    """The board as CSV, one line per candidate; scorer columns carry their grade in the name."""

    scope = "search"

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.STR, **NOT_FOUND})
    def get(self, request: Request, pk: int) -> HttpResponse:
        text = board_csv(board_document(search_for_user(request.user, pk)))
        return HttpResponse(text, content_type="text/csv; charset=utf-8")


class ReportListView(APIView):
    """Reports of a search, the newest first."""

    scope = "search"

    @extend_schema(responses={200: ReportSerializer(many=True), **NOT_FOUND})
    def get(self, request: Request, pk: int) -> Response:
        reports = search_for_user(request.user, pk).reports.select_related("created_by").defer("payload")[:100]
        return Response(ReportSerializer(reports, many=True).data)

    @extend_schema(request=None, responses={201: ReportDetailSerializer, **REFUSED})
    def post(self, request: Request, pk: int) -> Response:
        """Freeze what the board says now."""
        made = report_create(search=search_for_user(request.user, pk), actor=api_user(request))
        return Response(ReportDetailSerializer(made).data, status=status.HTTP_201_CREATED)


class ReportView(APIView):
    """One frozen report."""

    scope = "search"

    @extend_schema(responses={200: ReportDetailSerializer, **NOT_FOUND})
    def get(self, request: Request, pk: int, report_pk: int) -> Response:
        return Response(ReportDetailSerializer(report_for_user(request.user, pk, report_pk)).data)
