"""REST API of sample sets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db import transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from catalog.api.serializers import ProblemSerializer
from search.access import sampleset_for_user
from search.api.sampleset_serializers import (
    FootprintSerializer,
    PreviewSerializer,
    ProblemItemSerializer,
    ReadingSerializer,
    SampleSetChangeSerializer,
    SampleSetCreateSerializer,
    SampleSetDetailSerializer,
    SampleSetSerializer,
)
from search.models import SampleSet, SampleSetState
from search.previews import previews
from search.samplesets import (
    sampleset_create,
    sampleset_delete,
    sampleset_footprint,
    sampleset_recheck,
    sampleset_rename,
    sampleset_retain,
    sampleset_share,
)

NOT_FOUND = {404: ProblemSerializer}
REFUSED = {400: ProblemSerializer, 422: ProblemSerializer, **NOT_FOUND}
PREVIEWS = 50
PROBLEMS = 200
START = OpenApiParameter("start", int, description="First index, from 0.")


def api_user(request: Request) -> User:
    assert isinstance(request.user, User)
    return request.user


def query_number(request: Request, name: str, default: int, *, most: int = 2**62) -> int:
    """A whole number from the query. Raises ValidationError for anything else."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and int(text[:20]) <= most):
        raise ValidationError({name: f"A whole number from 0 to {most}."})
    return int(text)


class SampleSetListView(generics.ListAPIView[SampleSet]):
    """Own, shared and demo sample sets, the newest first."""

    scope = "search"
    serializer_class = SampleSetSerializer

    def get_queryset(self) -> Any:
        rows = SampleSet.objects.visible_to(api_user(self.request)).exclude(state=SampleSetState.DELETED)
        return rows.select_related("owner", "shared_with").defer("problems", "signature", "guess", "meta")

    @extend_schema(request=SampleSetCreateSerializer, responses={201: SampleSetDetailSerializer, **REFUSED})
    def post(self, request: Request) -> Response:
        """Make a sample set of finished uploads and check it in the background."""
        given = SampleSetCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        data = given.validated_data
        made = sampleset_create(
            owner=api_user(request),
            name=data["name"],
            uploads=data["uploads"],
            modality=data.get("modality", ""),
            options=data.get("options"),
        )
        return Response(SampleSetDetailSerializer(made).data, status=status.HTTP_201_CREATED)


class SampleSetView(APIView):
    """One sample set."""

    scope = "search"

    @extend_schema(responses={200: SampleSetDetailSerializer, **NOT_FOUND})
    def get(self, request: Request, pk: int) -> Response:
        return Response(SampleSetDetailSerializer(sampleset_for_user(request.user, pk)).data)

    @extend_schema(request=SampleSetChangeSerializer, responses={200: SampleSetDetailSerializer, **REFUSED})
    def patch(self, request: Request, pk: int) -> Response:
        """Rename, share or keep longer; its owner only."""
        sample_set = sampleset_for_user(request.user, pk, edit=True)
        given = SampleSetChangeSerializer(data=request.data, context={"request": request})
        given.is_valid(raise_exception=True)
        data, actor = given.validated_data, api_user(request)
        with transaction.atomic():
            if "name" in data:
                sampleset_rename(sample_set=sample_set, name=data["name"], actor=actor)
            if "shared_with" in data:
                sampleset_share(sample_set=sample_set, team=data["shared_with"], actor=actor)
            if "retain_until" in data:
                sampleset_retain(sample_set=sample_set, until=data["retain_until"], actor=actor)
        return Response(SampleSetDetailSerializer(sample_set).data)

    @extend_schema(request=None, responses={200: FootprintSerializer, **NOT_FOUND})
    def delete(self, request: Request, pk: int) -> Response:
        """Delete it with all that derives from it, at once and for good; says what went."""
        sample_set = sampleset_for_user(request.user, pk, edit=True)
        return Response(FootprintSerializer(asdict(sampleset_delete(sample_set=sample_set, actor=api_user(request)))).data)


class FootprintView(APIView):
    """What deleting the set would take with it."""

    scope = "search"

    @extend_schema(responses={200: FootprintSerializer, **NOT_FOUND})
    def get(self, request: Request, pk: int) -> Response:
        sample_set = sampleset_for_user(request.user, pk, edit=True)
        return Response(FootprintSerializer(asdict(sampleset_footprint(sample_set))).data)


class RecheckView(APIView):
    """Read the files again with other options. Where searches have run, a new set of the same files is made and returned."""

    scope = "search"

    @extend_schema(request=ReadingSerializer, responses={202: SampleSetDetailSerializer, **REFUSED})
    def post(self, request: Request, pk: int) -> Response:
        sample_set = sampleset_for_user(request.user, pk, edit=True)
        given = ReadingSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        data = given.validated_data
        read = sampleset_recheck(
            sample_set=sample_set, actor=api_user(request), modality=data.get("modality", ""), options=data.get("options")
        )
        return Response(SampleSetDetailSerializer(read).data, status=status.HTTP_202_ACCEPTED)


class ProblemsView(APIView):
    """Files and rows that could not be used, with the reason, 200 at a time."""

    scope = "search"

    @extend_schema(parameters=[START], responses={200: ProblemItemSerializer(many=True), 400: ProblemSerializer, **NOT_FOUND})
    def get(self, request: Request, pk: int) -> Response:
        sample_set = sampleset_for_user(request.user, pk)
        start = query_number(request, "start", 0)
        rows = [{"row": None, **problem} for problem in sample_set.problems[start : start + PROBLEMS]]
        return Response(ProblemItemSerializer(rows, many=True).data)


class PreviewsView(APIView):
    """Extracts of samples, 50 at a time."""

    scope = "search"

    @extend_schema(parameters=[START], responses={200: PreviewSerializer(many=True), 400: ProblemSerializer, **NOT_FOUND})
    def get(self, request: Request, pk: int) -> Response:
        sample_set = sampleset_for_user(request.user, pk)
        start = query_number(request, "start", 0)
        indexes = list(range(min(start, sample_set.n), min(start + PREVIEWS, sample_set.n)))
        found = previews(sample_set, indexes)
        rows = [{"index": index, "sample": item} for index, item in zip(indexes, found, strict=True)]
        return Response(PreviewSerializer(rows, many=True).data)
