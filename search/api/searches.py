"""REST API of searches: plan, start, board, events, evidence, stop, re-run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from catalog.api.serializers import ProblemSerializer
from gpuworker.core.specs import DROP_LEVEL
from search.access import sampleset_for_user, search_for_user
from search.api.question_serializers import ConstraintsSerializer, PlanAnswerSerializer, SearchCreateSerializer, SearchPlanSerializer
from search.api.samplesets import NOT_FOUND, REFUSED, api_user, query_number
from search.api.serializers import (
    EventPageSerializer,
    EventSerializer,
    SearchChangeSerializer,
    SearchDetailSerializer,
    SearchSerializer,
)
from search.board import header_context
from search.candidates import outlook
from search.models import Search, SearchState
from search.removal import search_delete
from search.services import DEFAULT_SCORERS, search_rerun, search_share, search_start, search_stop

EVENTS = 500
DISPUTED = 50
AFTER = OpenApiParameter("after", int, description="Number of the last event seen; 0 for all.")
STATE = OpenApiParameter("state", str, enum=SearchState.values)


def detail(search: Search) -> dict[str, Any]:
    return dict(SearchDetailSerializer(search, context={"header": header_context(search)}).data)


class SearchListView(generics.ListAPIView[Search]):
    """Own and shared searches, the newest first."""

    scope = "search"
    serializer_class = SearchSerializer

    def get_queryset(self) -> Any:
        rows = Search.objects.visible_to(api_user(self.request)).select_related("owner", "shared_with").defer("excluded", "constraints")
        state = self.request.query_params.get("state", "")
        return rows.filter(state=state) if state in SearchState.values else rows

    @extend_schema(parameters=[STATE])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    @extend_schema(request=SearchCreateSerializer, responses={201: SearchDetailSerializer, **REFUSED})
    def post(self, request: Request) -> Response:
        """Start a search. 422 when no model qualifies, with the reasons."""
        given = SearchCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        data = given.validated_data
        search = search_start(
            owner=api_user(request),
            sample_set=sampleset_for_user(request.user, data["sample_set"]),
            name=data["name"],
            constraints=ConstraintsSerializer.value(data.get("constraints", {})),
            scorers=data.get("scorers", DEFAULT_SCORERS),
            n_samples=data.get("n_samples"),
            metric=data.get("metric", {}),
            drop_level=data.get("drop_level", DROP_LEVEL),
        )
        return Response(detail(search), status=status.HTTP_201_CREATED)


class PlanView(APIView):
    """Which models a search would run, which not and why, and what that is expected to take; starts nothing."""

    scope = "search"

    @extend_schema(request=SearchPlanSerializer, responses={200: PlanAnswerSerializer, **REFUSED})
    def post(self, request: Request) -> Response:
        given = SearchPlanSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        data = given.validated_data
        sample_set = sampleset_for_user(request.user, data["sample_set"])
        constraints = ConstraintsSerializer.value(data.get("constraints", {}))
        found = outlook(api_user(request), sample_set, constraints, data.get("n_samples"))
        answer = {
            "candidates": [str(version.model) for version in found.selection.chosen],
            "left_out": found.left_out,
            "label_key": found.selection.label_key,
            "label_spaces": [asdict(space) for space in found.selection.label_spaces],
            "excluded": [item.to_json() for item in found.selection.excluded],
            "relaxed": [asdict(item) for item in found.relaxed],
            "expected": asdict(found.expected) if found.expected else None,
        }
        return Response(PlanAnswerSerializer(answer).data)


class SearchView(APIView):
    """One search: the board's header, and what was asked."""

    scope = "search"

    @extend_schema(responses={200: SearchDetailSerializer, **NOT_FOUND})
    def get(self, request: Request, pk: int) -> Response:
        return Response(detail(search_for_user(request.user, pk)))

    @extend_schema(request=SearchChangeSerializer, responses={200: SearchDetailSerializer, **REFUSED})
    def patch(self, request: Request, pk: int) -> Response:
        """Share with a team, or with nobody; its owner only."""
        search = search_for_user(request.user, pk, edit=True)
        given = SearchChangeSerializer(data=request.data, context={"request": request})
        given.is_valid(raise_exception=True)
        search_share(search=search, team=given.validated_data["shared_with"], actor=api_user(request))
        return Response(detail(search))

    @extend_schema(request=None, responses={204: None, **REFUSED})
    def delete(self, request: Request, pk: int) -> Response:
        """Delete a search that has ended, with its predictions and reports."""
        search_delete(search=search_for_user(request.user, pk, edit=True), actor=api_user(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class EventsView(APIView):
    """What happened, in order, at most 500 at a time. Polling this gives the same final state as the socket."""

    scope = "search"

    @extend_schema(parameters=[AFTER], responses={200: EventPageSerializer, 400: ProblemSerializer, **NOT_FOUND})
    def get(self, request: Request, pk: int) -> Response:
        search = search_for_user(request.user, pk)
        after = query_number(request, "after", 0)
        rows = list(search.events.filter(seq__gt=after).order_by("seq")[: EVENTS + 1])
        page = {"last_seq": search.last_seq, "more": len(rows) > EVENTS, "events": EventSerializer(rows[:EVENTS], many=True).data}
        return Response(page)


class StopView(APIView):
    """End early and keep the partial result."""

    scope = "search"

    @extend_schema(request=None, responses={202: SearchDetailSerializer, **NOT_FOUND})
    def post(self, request: Request, pk: int) -> Response:
        search = search_for_user(request.user, pk, edit=True)
        search_stop(search=search, actor=api_user(request))
        search.refresh_from_db()
        return Response(detail(search), status=status.HTTP_202_ACCEPTED)


class RerunView(APIView):
    """The same question with the models of today, as a new search of the caller's."""

    scope = "search"

    @extend_schema(request=None, responses={201: SearchDetailSerializer, **REFUSED})
    def post(self, request: Request, pk: int) -> Response:
        made = search_rerun(search=search_for_user(request.user, pk), actor=api_user(request))
        return Response(detail(made), status=status.HTTP_201_CREATED)
