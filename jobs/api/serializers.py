"""JSON of a job."""

from __future__ import annotations

from rest_framework import serializers

from jobs.models import Job
from jobs.services import job_waiting_reason


class JobSerializer(serializers.ModelSerializer[Job]):
    """progress: 0 to 1, null = unknown. The error fields are set once state is failed or errored."""

    class Meta:
        model = Job
        fields = [
            "id",
            "kind",
            "subject_id",
            "label",
            "url",
            "state",
            "attempt",
            "cancel_requested",
            "progress",
            "progress_text",
            "error_title",
            "error_detail",
            "error_fix",
            "created",
            "started",
            "finished",
        ]
        read_only_fields = fields


class JobDetailSerializer(JobSerializer):
    """waiting_reason: why a queued job waits, "" otherwise."""

    waiting_reason = serializers.SerializerMethodField()

    class Meta(JobSerializer.Meta):
        fields = [*JobSerializer.Meta.fields, "waiting_reason"]
        read_only_fields = fields

    def get_waiting_reason(self, job: Job) -> str:
        return job_waiting_reason(job)
