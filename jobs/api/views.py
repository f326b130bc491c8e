"""REST API of a person's own jobs. A job belongs to no area: a token with any scope reads them, one that writes cancels and retries."""

from __future__ import annotations

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.permissions import AnyScope
from gpuworker.core.errors import UserError
from jobs.access import job_for_user
from jobs.api.serializers import JobDetailSerializer, JobSerializer
from jobs.models import Job
from jobs.services import job_cancel, job_retry


class NothingToRetry(UserError):
    """The job lives, or ended well."""

    code = "nothing_to_retry"


class JobListView(generics.ListAPIView):  # type: ignore[type-arg]
    """The person's jobs, the newest first."""

    permission_classes = [AnyScope]
    serializer_class = JobSerializer

    def get_queryset(self) -> QuerySet[Job]:
        return Job.objects.filter(owner=self.request.user.pk)


class JobView(generics.RetrieveAPIView):  # type: ignore[type-arg]
    permission_classes = [AnyScope]
    serializer_class = JobDetailSerializer

    def get_object(self) -> Job:
        return job_for_user(self.request.user, self.kwargs["pk"])


class JobCancelView(APIView):
    """Ask for the end: a queued job ends at once, a running one at its next check."""

    permission_classes = [AnyScope]

    @extend_schema(request=None, responses={202: JobDetailSerializer})
    def post(self, request: Request, pk: int) -> Response:
        job = job_for_user(request.user, pk)
        job_cancel(job=job)
        job.refresh_from_db()
        return Response(JobDetailSerializer(job).data, status=status.HTTP_202_ACCEPTED)


class JobRetryView(APIView):
    """Start a failed, broken or cancelled job anew, as a new job."""

    permission_classes = [AnyScope]

    @extend_schema(request=None, responses={202: JobDetailSerializer})
    def post(self, request: Request, pk: int) -> Response:
        job = job_for_user(request.user, pk)
        if not job.can_retry:
            raise NothingToRetry("There is nothing to try again.", detail=f"{job.label} is: {job.get_state_display()}.")
        return Response(JobDetailSerializer(job_retry(job=job)).data, status=status.HTTP_202_ACCEPTED)
