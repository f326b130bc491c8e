"""REST API of models: list, facets, one model, aliases."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from catalog import services
from catalog.access import model_for_user, team_for_publisher, versions_for_user
from catalog.api.paging import Keyset
from catalog.api.serializers import (
    SORT_VALUES,
    AliasSerializer,
    AliasSetSerializer,
    DetailsSerializer,
    FacetSerializer,
    FreedSerializer,
    ModelCreateSerializer,
    ModelSerializer,
    ProblemSerializer,
)
from catalog.facets import facet_counts
from catalog.filters import FACETS, parse_filters
from catalog.models import Alias, RegisteredModel
from catalog.services.models import ModelDetails
from gpuworker.core import input_spec

FILTERS = [
    OpenApiParameter("q", str, description="Words of title, name, task, labels, summary or description; beginnings of words match."),
    *(OpenApiParameter(key, str, many=True, description=f"{facet.label}; several widen.") for key, facet in FACETS.items()),
]
DEVICE = OpenApiParameter("device", str, description="Name of a measured device: `predicted` and the order are for it.")
NOT_FOUND = {404: ProblemSerializer}


def api_user(request: Request) -> User:
    assert isinstance(request.user, User)
    return request.user


def details_of(data: dict[str, Any]) -> ModelDetails:
    return ModelDetails(
        title=data["title"],
        task=data["task"],
        summary=data["summary"],
        description=data["description"],
        licence=data["licence"],
        visibility=data["visibility"],
    )


class ModelListView(generics.ListAPIView[RegisteredModel]):
    """Models this person may see."""

    scope = "catalog"
    serializer_class = ModelSerializer
    pagination_class = Keyset

    def get_queryset(self) -> Any:
        filters = parse_filters(self.request.query_params)
        visible = RegisteredModel.objects.visible_to(api_user(self.request))
        return (
            filters.apply(visible)
            .select_related("team", "owner", "published_version")
            .defer("published_version__program", "published_version__spec", "text")
        )

    @extend_schema(
        parameters=[*FILTERS, DEVICE, OpenApiParameter("sort", str, enum=SORT_VALUES, description="A column; - for descending.")],
        responses={200: ModelSerializer(many=True), 400: ProblemSerializer, 422: ProblemSerializer},
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    @extend_schema(
        request=ModelCreateSerializer,
        responses={201: ModelSerializer, 400: ProblemSerializer, 404: ProblemSerializer, 422: ProblemSerializer},
    )
    def post(self, request: Request) -> Response:
        """Register a model in a team where you may publish. Versions are added to it."""
        given = ModelCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        data = given.validated_data
        team = team_for_publisher(request.user, data["team"])
        model = services.model_create(
            team=team, name=data["name"].lower(), modality=data["modality"], details=details_of(data), actor=api_user(request)
        )
        return Response(ModelSerializer(model_for_user(request.user, team.slug, model.name)).data, status=status.HTTP_201_CREATED)


class FacetsView(APIView):
    """Counts for every facet under the other filters."""

    scope = "catalog"

    @extend_schema(parameters=FILTERS, responses=FacetSerializer(many=True))
    def get(self, request: Request) -> Response:
        counts = facet_counts(RegisteredModel.objects.visible_to(api_user(request)), parse_filters(request.query_params))
        return Response(FacetSerializer(counts, many=True).data)


class ModelView(APIView):
    """One model."""

    scope = "catalog"

    @extend_schema(responses={200: ModelSerializer, **NOT_FOUND})
    def get(self, request: Request, team: str, name: str) -> Response:
        return Response(ModelSerializer(model_for_user(request.user, team, name)).data)

    @extend_schema(request=DetailsSerializer(partial=True), responses={200: ModelSerializer, 400: ProblemSerializer, **NOT_FOUND})
    def patch(self, request: Request, team: str, name: str) -> Response:
        """Change what is said about a model."""
        model = model_for_user(request.user, team, name, edit=True)
        given = DetailsSerializer(data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        now = {field: getattr(model, field) for field in ("title", "task", "summary", "description", "licence", "visibility")}
        services.model_update(model=model, details=details_of(now | given.validated_data), actor=api_user(request))
        return Response(ModelSerializer(model_for_user(request.user, team, name)).data)

    @extend_schema(responses={204: None, **NOT_FOUND})
    def delete(self, request: Request, team: str, name: str) -> Response:
        """Out of sight at once; it can be restored for two weeks."""
        services.model_delete(model=model_for_user(request.user, team, name, edit=True), actor=api_user(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class ModelRestoreView(APIView):
    """Undo a deletion."""

    scope = "catalog"

    @extend_schema(request=None, responses={200: ModelSerializer, **NOT_FOUND})
    def post(self, request: Request, team: str, name: str) -> Response:
        services.model_restore(model=model_for_user(request.user, team, name, deleted=True), actor=api_user(request))
        return Response(ModelSerializer(model_for_user(request.user, team, name)).data)


class ModelPurgeView(APIView):
    """Remove a deleted model for good; tells how many bytes came free."""

    scope = "catalog"

    @extend_schema(request=None, responses={200: FreedSerializer, **NOT_FOUND})
    def post(self, request: Request, team: str, name: str) -> Response:
        freed = services.model_purge(model=model_for_user(request.user, team, name, deleted=True), actor=api_user(request))
        return Response({"freed_bytes": freed})


class AliasListView(APIView):
    """Aliases of a model."""

    scope = "catalog"

    @extend_schema(responses={200: AliasSerializer(many=True), **NOT_FOUND})
    def get(self, request: Request, team: str, name: str) -> Response:
        model = model_for_user(request.user, team, name)
        return Response(AliasSerializer(model.aliases.select_related("version"), many=True).data)


class AliasView(APIView):
    """One alias: set it, moving it where it exists, or remove it."""

    scope = "catalog"

    @extend_schema(
        request=AliasSetSerializer, responses={200: AliasSerializer, 400: ProblemSerializer, 422: ProblemSerializer, **NOT_FOUND}
    )
    def put(self, request: Request, team: str, name: str, alias: str) -> Response:
        model = model_for_user(request.user, team, name, edit=True)
        given = AliasSetSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        version = versions_for_user(api_user(request), model).filter(number=given.validated_data["version"]).first()
        if version is None:
            raise Http404("No such version.")
        version.model = model
        return Response(AliasSerializer(services.alias_set(model=model, name=alias[:40], version=version, actor=api_user(request))).data)

    @extend_schema(responses={204: None, **NOT_FOUND})
    def delete(self, request: Request, team: str, name: str, alias: str) -> Response:
        model = model_for_user(request.user, team, name, edit=True)
        found = Alias.objects.select_related("model__team", "version").filter(model=model, name=alias).first()
        if found is None:
            raise Http404("No such alias.")
        services.alias_delete(alias=found, actor=api_user(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class SpecSchemaView(APIView):
    """JSON Schema (2020-12) of the input spec and label space."""

    scope = "catalog"

    @extend_schema(responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        return Response(input_spec.SCHEMA)
