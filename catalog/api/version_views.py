"""REST API of versions: create, check, review, files, behaviour signature."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import FileResponse, Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import generics, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from catalog import services
from catalog.access import model_for_user, review_for_user, version_for_user, versions_for_user
from catalog.api.serializers import (
    DecisionSerializer,
    FreedSerializer,
    ProblemSerializer,
    QueueSerializer,
    RecheckSerializer,
    ReviewSerializer,
    SignatureSerializer,
    SubmitSerializer,
    VersionCreateSerializer,
    VersionDetailSerializer,
    VersionSerializer,
)
from catalog.api.views import NOT_FOUND, api_user
from catalog.downloads import original
from catalog.models import ModelVersion, ReferenceSample, Signature
from catalog.services.versions import Reference, version_jobs
from uploads.access import uploads_for_user
from uploads.models import Purpose

REFUSED = {400: ProblemSerializer, 422: ProblemSerializer, **NOT_FOUND}


def _shown(request: Request, team: str, name: str, number: int) -> Response:
    version = version_for_user(request.user, team, name, number)
    return Response(VersionDetailSerializer(version, context={"job": version_jobs(version).first()}).data)


def _reference(request: Request, data: dict[str, Any]) -> Reference | None:
    if not data["reference"]:
        return None
    uploads = uploads_for_user(api_user(request), [str(item) for item in data["reference"]], Purpose.REFERENCE)
    return Reference(uploads, data["reference_choice"], data["reference_options"])


class VersionListView(generics.ListAPIView[ModelVersion]):
    """Versions of a model, the newest first."""

    scope = "catalog"
    serializer_class = VersionSerializer

    def get_queryset(self) -> QuerySet[ModelVersion]:
        model = model_for_user(self.request.user, self.kwargs["team"], self.kwargs["name"])
        return versions_for_user(api_user(self.request), model).select_related("model__team")

    @extend_schema(request=VersionCreateSerializer, responses={201: VersionDetailSerializer, **REFUSED})
    def post(self, request: Request, team: str, name: str) -> Response:
        """A new version from complete uploads (tus, /uploads/). It is checked in the background; poll the version."""
        model = model_for_user(request.user, team, name, edit=True)
        given = VersionCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        data = given.validated_data
        version = services.version_create(
            model=model,
            files=uploads_for_user(api_user(request), [str(item) for item in data["files"]], Purpose.MODEL),
            spec=data["spec"],
            actor=api_user(request),
            reference=_reference(request, data),
            comment=data["comment"],
            submit=data["submit"],
        )
        response = _shown(request, team, name, version.number)
        response.status_code = status.HTTP_201_CREATED
        return response


class VersionView(APIView):
    """One version; `state` and `job` follow its check."""

    scope = "catalog"

    @extend_schema(responses={200: VersionDetailSerializer, **NOT_FOUND})
    def get(self, request: Request, team: str, name: str, number: int) -> Response:
        return _shown(request, team, name, number)


class VersionRecheckView(APIView):
    """Check a rejected version again, with a corrected spec or another reference sample."""

    scope = "catalog"

    @extend_schema(request=RecheckSerializer, responses={200: VersionDetailSerializer, **REFUSED})
    def post(self, request: Request, team: str, name: str, number: int) -> Response:
        version = version_for_user(request.user, team, name, number, edit=True)
        given = RecheckSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        data = given.validated_data
        services.version_recheck(version=version, actor=api_user(request), spec=data.get("spec"), reference=_reference(request, data))
        return _shown(request, team, name, number)


class VersionSubmitView(APIView):
    """Send a checked version into review."""

    scope = "catalog"

    @extend_schema(request=SubmitSerializer, responses={200: VersionDetailSerializer, **REFUSED})
    def post(self, request: Request, team: str, name: str, number: int) -> Response:
        version = version_for_user(request.user, team, name, number, edit=True)
        given = SubmitSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        services.version_submit(version=version, actor=api_user(request), comment=given.validated_data.get("comment"))
        return _shown(request, team, name, number)


class VersionArchiveView(APIView):
    """Take a version out of searches; its evidence stays."""

    scope = "catalog"

    @extend_schema(request=None, responses={200: VersionDetailSerializer, 422: ProblemSerializer, **NOT_FOUND})
    def post(self, request: Request, team: str, name: str, number: int) -> Response:
        services.version_archive(version=version_for_user(request.user, team, name, number, edit=True), actor=api_user(request))
        return _shown(request, team, name, number)


class ReferenceWithdrawView(APIView):
    """Take back the opt-in into the probe set; tells how many bytes were deleted."""

    scope = "catalog"

    @extend_schema(request=None, responses={200: FreedSerializer, **NOT_FOUND})
    def post(self, request: Request, team: str, name: str, number: int) -> Response:
        version = version_for_user(request.user, team, name, number, edit=True)
        if not ReferenceSample.objects.filter(version=version).exists():
            raise Http404("This version has no reference sample.")
        return Response({"freed_bytes": services.reference_withdraw(version=version, actor=api_user(request))})


class SignatureView(APIView):
    """The summary of a version's behaviour signature."""

    scope = "catalog"

    @extend_schema(responses={200: SignatureSerializer, **NOT_FOUND})
    def get(self, request: Request, team: str, name: str, number: int) -> Response:
        version = version_for_user(request.user, team, name, number)
        signature = Signature.objects.defer("arrays").filter(version=version).first()
        if signature is None:
            raise Http404("This version has no behaviour signature.")
        return Response(SignatureSerializer(signature).data)


class FileView(APIView):
    """Download an original file."""

    scope = "catalog"

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, **NOT_FOUND})
    def get(self, request: Request, team: str, name: str, number: int, file_id: int) -> FileResponse:
        return original(request.user, team, name, number, file_id)


class ReviewView(APIView):
    """Reviews of a version, and deciding on it."""

    scope = "catalog"

    @extend_schema(responses={200: ReviewSerializer(many=True), **NOT_FOUND})
    def get(self, request: Request, team: str, name: str, number: int) -> Response:
        version = version_for_user(request.user, team, name, number)
        return Response(ReviewSerializer(version.reviews.select_related("reviewer"), many=True).data)

    @extend_schema(request=DecisionSerializer, responses={201: ReviewSerializer, **REFUSED})
    def post(self, request: Request, team: str, name: str, number: int) -> Response:
        """approve publishes, ask gives it back to its author, reject ends it."""
        version = review_for_user(request.user, team, name, number)
        given = DecisionSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        data = given.validated_data
        review = services.review_decide(version=version, decision=data["decision"], reason=data["reason"], actor=api_user(request))
        return Response(ReviewSerializer(review).data, status=status.HTTP_201_CREATED)


class QueueView(generics.ListAPIView[ModelVersion]):
    """Versions that wait for a review you may give."""

    scope = "catalog"
    serializer_class = QueueSerializer

    def get_queryset(self) -> QuerySet[ModelVersion]:
        return ModelVersion.objects.in_queue_of(api_user(self.request)).select_related("model__team", "created_by").defer("program", "spec")
