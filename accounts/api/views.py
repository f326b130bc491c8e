"""REST API of the person, their teams and their tokens.

Areas: /api/me/ answers any token; reading teams is catalog:read, since teams own models; what changes who may do what
(members, tokens, the profile) needs a browser session.
"""

from __future__ import annotations

from datetime import timedelta

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics, status
from rest_framework.generics import get_object_or_404
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from accounts.access import team_for_user
from accounts.api.permissions import AnyScope, IsAuthenticatedInScope, SessionOnly
from accounts.api.serializers import (
    MemberSerializer,
    MeSerializer,
    RoleSerializer,
    TeamDetailSerializer,
    TeamSerializer,
    TokenCreateSerializer,
    TokenMadeSerializer,
    TokenSerializer,
)
from accounts.models import ApiToken, Membership, Role, Team, User
from accounts.services import membership_set, profile_save, team_create, token_create, token_revoke


class ReadByToken(generics.GenericAPIView):  # type: ignore[type-arg]
    """Reading follows `read_permission`; everything else needs a session."""

    read_permission: type[BasePermission] = IsAuthenticatedInScope

    def get_permissions(self) -> list[BasePermission]:
        return [self.read_permission() if self.request.method in SAFE_METHODS else SessionOnly()]


class MeView(ReadByToken, generics.RetrieveUpdateAPIView):  # type: ignore[type-arg]
    """The person behind the session or token."""

    serializer_class = MeSerializer
    read_permission = AnyScope
    http_method_names = ["get", "patch", "head", "options"]

    def get_object(self) -> User:
        assert isinstance(self.request.user, User)
        return User.objects.get(pk=self.request.user.pk)

    def perform_update(self, serializer: BaseSerializer[User]) -> None:
        user = serializer.instance
        assert isinstance(user, User)
        for name, value in serializer.validated_data.items():
            setattr(user, name, value)
        profile_save(user=user)


class TeamListView(ReadByToken, generics.ListCreateAPIView):  # type: ignore[type-arg]
    """The person's teams."""

    scope = "catalog"
    serializer_class = TeamSerializer

    def get_queryset(self) -> QuerySet[Team]:
        return Team.objects.filter(memberships__user=self.request.user.pk)

    def perform_create(self, serializer: BaseSerializer[Team]) -> None:
        assert isinstance(self.request.user, User)
        serializer.instance = team_create(**serializer.validated_data, actor=self.request.user)


class TeamView(ReadByToken, generics.RetrieveAPIView):  # type: ignore[type-arg]
    """One team and who is in it."""

    scope = "catalog"
    serializer_class = TeamDetailSerializer

    def get_object(self) -> Team:
        team = team_for_user(self.request.user, self.kwargs["slug"])
        return Team.objects.prefetch_related("memberships__user").get(pk=team.pk)


class MemberView(APIView):
    """One membership: PUT gives or changes it, DELETE takes it away."""

    permission_classes = [SessionOnly]

    @extend_schema(request=RoleSerializer, responses=MemberSerializer)
    def put(self, request: Request, slug: str, username: str) -> Response:
        assert isinstance(request.user, User)
        team = team_for_user(request.user, slug, role=Role.ADMIN)
        asked = RoleSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        member = get_object_or_404(User, username=username, is_active=True)
        membership_set(team=team, user=member, role=asked.validated_data["role"], actor=request.user)
        return Response(MemberSerializer(Membership.objects.select_related("user").get(team=team, user=member)).data)

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, slug: str, username: str) -> Response:
        assert isinstance(request.user, User)
        team = team_for_user(request.user, slug, role=Role.VIEWER if username == request.user.username else Role.ADMIN)
        member = get_object_or_404(User, username=username, memberships__team=team)
        if team.personal_of_id == member.pk:
            self.permission_denied(request, message="A personal team keeps its person.")
        membership_set(team=team, user=member, role=None, actor=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class TokenListView(generics.ListAPIView):  # type: ignore[type-arg]
    """The person's API tokens. A token cannot see or make tokens."""

    permission_classes = [SessionOnly]
    serializer_class = TokenSerializer

    def get_queryset(self) -> QuerySet[ApiToken]:
        assert isinstance(self.request.user, User)
        return ApiToken.objects.of_user(self.request.user)

    @extend_schema(request=TokenCreateSerializer, responses={201: TokenMadeSerializer})
    def post(self, request: Request) -> Response:
        assert isinstance(request.user, User)
        asked = TokenCreateSerializer(data=request.data, context={"request": request})
        asked.is_valid(raise_exception=True)
        wanted = asked.validated_data
        lifetime = timedelta(days=wanted["expires_days"])
        token, text = token_create(user=request.user, name=wanted["name"], scopes=wanted["scopes"], lifetime=lifetime)
        return Response({**TokenSerializer(token).data, "token": text}, status=status.HTTP_201_CREATED)


class TokenView(generics.RetrieveDestroyAPIView):  # type: ignore[type-arg]
    permission_classes = [SessionOnly]
    serializer_class = TokenSerializer

    def get_queryset(self) -> QuerySet[ApiToken]:
        assert isinstance(self.request.user, User)
        return ApiToken.objects.of_user(self.request.user)

    def perform_destroy(self, instance: ApiToken) -> None:
        assert isinstance(self.request.user, User)
        token_revoke(token=instance, actor=self.request.user)
