"""REST API of probe sets: what they hold, whose searches may use them, how a version did on them. Withdrawing stands with the versions."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import team_for_user
from accounts.api.permissions import SessionOnly
from accounts.models import Role
from catalog import services
from catalog.access import labelled_slice_for_user, probe_set_for_user, version_for_user
from catalog.api.probe_serializers import (
    CalibrationFamilySerializer,
    ProbeSetDetailSerializer,
    ProbeSetSerializer,
    SharingSerializer,
    VersionProbesSerializer,
)
from catalog.api.serializers import FreedSerializer, ProblemSerializer
from catalog.api.views import NOT_FOUND, api_user
from catalog.calibrations import calibrations
from catalog.probe_models import ProbeSlice
from catalog.probes import probe_sets, standings


class ProbeSetListView(APIView):
    """The probe sets that your searches may use."""

    scope = "catalog"

    @extend_schema(operation_id="probe_sets_list", responses={200: ProbeSetSerializer(many=True)})
    def get(self, request: Request) -> Response:
        return Response(ProbeSetSerializer(probe_sets(api_user(request)), many=True).data)


class ProbeSetView(APIView):
    """One probe set: slices, classes, models, alarms, calibration."""

    scope = "catalog"

    @extend_schema(responses={200: ProbeSetDetailSerializer, **NOT_FOUND})
    def get(self, request: Request, team: str, key: str) -> Response:
        return Response(ProbeSetDetailSerializer(probe_set_for_user(request.user, team, key)).data)


class LabelledSliceView(APIView):
    """Labelled samples in a team's probe set."""

    scope = "catalog"

    @extend_schema(request=None, responses={200: FreedSerializer, **NOT_FOUND})
    def delete(self, request: Request, team: str, key: str, pk: int) -> Response:
        """Take labelled samples out of a set, as who gave them or as a curator of the team; tells how many bytes were deleted."""
        piece = labelled_slice_for_user(request.user, team, key, pk)
        return Response({"freed_bytes": services.labelled_slice_withdraw(piece=piece, actor=api_user(request))})


class CalibrationListView(APIView):
    """How often the intervals of predictions held, per kind of sample and label space: where your searches may use probes."""

    scope = "catalog"

    @extend_schema(operation_id="calibrations_list", responses={200: CalibrationFamilySerializer(many=True)})
    def get(self, request: Request) -> Response:
        return Response(CalibrationFamilySerializer(calibrations(api_user(request)), many=True).data)


class ProbeSharingView(APIView):
    """Whose searches may use a team's probes; for its admins, signed in."""

    permission_classes = [SessionOnly]

    @extend_schema(
        request=SharingSerializer, responses={200: SharingSerializer, 400: ProblemSerializer, 403: ProblemSerializer, **NOT_FOUND}
    )
    def put(self, request: Request, team: str) -> Response:
        """Let everybody's searches use them (public), or only the members'."""
        found = team_for_user(request.user, team, role=Role.ADMIN)
        given = SharingSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        services.probe_sharing_set(team=found, public=given.validated_data["public"], actor=api_user(request))
        return Response(given.validated_data)


class VersionProbesView(APIView):
    """The slice a version gave, and how it did on the slices of others."""

    scope = "catalog"

    @extend_schema(responses={200: VersionProbesSerializer, **NOT_FOUND})
    def get(self, request: Request, team: str, name: str, number: int) -> Response:
        version = version_for_user(request.user, team, name, number)
        own = ProbeSlice.objects.defer("features", "row_hashes", "row_labels").filter(version=version).first()
        standing = standings([version], api_user(request)).get(version.pk)
        return Response(VersionProbesSerializer({"own": own, "standing": standing}).data)
