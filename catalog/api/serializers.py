"""JSON of the catalog. Input serializers check, output serializers only show."""

from __future__ import annotations

from django.core.validators import validate_slug
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import Visibility
from catalog.cost_models import VersionCost
from catalog.models import Alias, ModelVersion, ReferenceSample, RegisteredModel, Review, VersionFile, VersionState, modality_choices
from catalog.paging import SORTS


class PredictedSerializer(serializers.Serializer[None]):
    """What one sample takes on the chosen device: milliseconds with their 90 % interval, bytes of weights and activations."""

    latency_ms = serializers.FloatField()
    low_ms = serializers.FloatField()
    high_ms = serializers.FloatField()
    memory_bytes = serializers.IntegerField()


class ModelSerializer(serializers.ModelSerializer[RegisteredModel]):
    """A registered model with the facts of its published version. accuracy is self-reported by the publisher; latency_ms was measured
    when it was published; predicted is for the device of the list, null elsewhere and where nothing is predicted."""

    team = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    owner = serializers.SlugRelatedField(slug_field="username", read_only=True)
    published_version = serializers.SlugRelatedField(slug_field="number", read_only=True, allow_null=True)
    visibility = serializers.ChoiceField(choices=Visibility.values, read_only=True)
    modality = serializers.ChoiceField(choices=modality_choices(), read_only=True)
    predicted = serializers.SerializerMethodField()

    class Meta:
        model = RegisteredModel
        fields = (
            "team", "name", "title", "summary", "description", "task", "modality", "licence", "visibility", "owner", "created", "updated",
            "published_version", "architecture", "parameters", "size_bytes", "accuracy", "latency_ms", "n_labels", "label_key",
            "predicted",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(PredictedSerializer(allow_null=True))
    def get_predicted(self, model: RegisteredModel) -> dict[str, object] | None:
        if getattr(model, "device_ms", None) is None:
            return None
        names = {"latency_ms": "device_ms", "low_ms": "device_low_ms", "high_ms": "device_high_ms", "memory_bytes": "device_bytes"}
        return {name: getattr(model, annotated) for name, annotated in names.items()}


class DetailsSerializer(serializers.Serializer[RegisteredModel]):
    """What a person says about a model."""

    title = serializers.CharField(max_length=140)
    task = serializers.CharField(max_length=60)
    summary = serializers.CharField(max_length=300, required=False, default="", allow_blank=True)
    description = serializers.CharField(max_length=20_000, required=False, default="", allow_blank=True)
    licence = serializers.CharField(max_length=60, required=False, default="", allow_blank=True)
    visibility = serializers.ChoiceField(choices=Visibility.values, required=False, default=Visibility.TEAM)


class ModelCreateSerializer(DetailsSerializer):
    team = serializers.SlugField(max_length=60)
    name = serializers.CharField(max_length=80, validators=[validate_slug])
    modality = serializers.ChoiceField(choices=modality_choices())


class VersionFileSerializer(serializers.ModelSerializer[VersionFile]):
    id = serializers.IntegerField(read_only=True)

    class Meta:
        model = VersionFile
        fields = ("id", "name", "size", "sha256", "kept")
        read_only_fields = fields


class ErrorSerializer(serializers.Serializer[None]):
    """Why a version was rejected."""

    title = serializers.CharField()
    detail = serializers.CharField(allow_blank=True)
    fix = serializers.CharField(allow_blank=True)


class CheckStepSerializer(serializers.Serializer[None]):
    key = serializers.CharField()
    text = serializers.CharField()
    seconds = serializers.FloatField()


class ProgressSerializer(serializers.Serializer[None]):
    """The check's job. progress: in [0, 1] or null."""

    state = serializers.CharField()
    progress = serializers.FloatField(allow_null=True)
    text = serializers.CharField(allow_blank=True)


class VersionSerializer(serializers.ModelSerializer[ModelVersion]):
    """One immutable version."""

    state = serializers.ChoiceField(choices=VersionState.choices, read_only=True)
    format = serializers.CharField(read_only=True)
    created_by = serializers.SlugRelatedField(slug_field="username", read_only=True)
    labels = serializers.ListField(child=serializers.CharField(), read_only=True)
    url = serializers.SerializerMethodField()

    class Meta:
        model = ModelVersion
        fields = (
            "number", "state", "created", "created_by", "published", "comment", "format", "labels", "label_key", "program_hash",
            "architecture", "parameters", "size_bytes", "tensor_bytes", "latency_ms", "memory_bytes", "url",
        )  # fmt: skip
        read_only_fields = fields

    def get_url(self, version: ModelVersion) -> str:
        return version.get_absolute_url()


class CostSerializer(serializers.ModelSerializer[VersionCost]):
    """What a version is predicted to take on a device, with 90 % intervals: latency of one sample by itself, of each sample in a batch;
    bytes of weights and activations likewise."""

    device = serializers.SlugRelatedField(slug_field="name", read_only=True)

    class Meta:
        model = VersionCost
        fields = (
            "device", "latency_ms", "low_ms", "high_ms", "batch_ms", "batch_low_ms", "batch_high_ms", "memory_bytes",
            "batch_memory_bytes",
        )  # fmt: skip
        read_only_fields = fields


class VersionDetailSerializer(VersionSerializer):
    """One version with its spec, facts, files, steps, predicted costs on every device and, while it is checked, its progress."""

    spec = serializers.DictField(read_only=True)
    facts = serializers.DictField(read_only=True)
    files = VersionFileSerializer(many=True, read_only=True)
    checks = CheckStepSerializer(many=True, read_only=True)
    costs = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField()
    job = serializers.SerializerMethodField()

    class Meta(VersionSerializer.Meta):
        fields = (*VersionSerializer.Meta.fields, "spec", "facts", "files", "checks", "costs", "error", "job")
        read_only_fields = fields

    @extend_schema_field(CostSerializer(many=True))
    def get_costs(self, version: ModelVersion) -> list[dict[str, object]]:
        return list(CostSerializer(version.costs.select_related("device").defer("device__cost"), many=True).data)

    @extend_schema_field(ErrorSerializer(allow_null=True))
    def get_error(self, version: ModelVersion) -> dict[str, str] | None:
        if not version.error_title:
            return None
        return {"title": version.error_title, "detail": version.error_detail, "fix": version.error_fix}

    @extend_schema_field(ProgressSerializer(allow_null=True))
    def get_job(self, version: ModelVersion) -> dict[str, object] | None:
        job = self.context.get("job")
        return {"state": job.state, "progress": job.progress, "text": job.progress_text} if job else None


class VersionCreateSerializer(serializers.Serializer[ModelVersion]):
    """files, reference: ids of complete uploads. spec: see /api/spec-schema/. submit: into review once the checks have passed."""

    files = serializers.ListField(child=serializers.UUIDField(), min_length=1, max_length=200)
    spec = serializers.DictField()
    reference = serializers.ListField(child=serializers.UUIDField(), required=False, default=list, max_length=5_000)
    reference_choice = serializers.ChoiceField(
        choices=ReferenceSample.Choice.values, required=False, default=ReferenceSample.Choice.SIGNATURE_ONLY
    )
    reference_options = serializers.DictField(required=False, default=dict)
    comment = serializers.CharField(max_length=4_000, required=False, default="", allow_blank=True)
    submit = serializers.BooleanField(required=False, default=False)


class RecheckSerializer(serializers.Serializer[ModelVersion]):
    spec = serializers.DictField(required=False)
    reference = serializers.ListField(child=serializers.UUIDField(), required=False, default=list, max_length=5_000)
    reference_choice = serializers.ChoiceField(
        choices=ReferenceSample.Choice.values, required=False, default=ReferenceSample.Choice.SIGNATURE_ONLY
    )
    reference_options = serializers.DictField(required=False, default=dict)


class SubmitSerializer(serializers.Serializer[ModelVersion]):
    comment = serializers.CharField(max_length=4_000, required=False, allow_blank=True)


class DecisionSerializer(serializers.Serializer[Review]):
    """reason: needed unless the decision is approve."""

    decision = serializers.ChoiceField(choices=Review.Decision.values)
    reason = serializers.CharField(max_length=4_000, required=False, default="", allow_blank=True)


class ReviewSerializer(serializers.ModelSerializer[Review]):
    reviewer = serializers.SlugRelatedField(slug_field="username", read_only=True)
    decision = serializers.ChoiceField(choices=Review.Decision.values, read_only=True)

    class Meta:
        model = Review
        fields = ("decision", "reason", "reviewer", "created")
        read_only_fields = fields


class QueueSerializer(VersionSerializer):
    """A version that waits for a review."""

    model = serializers.StringRelatedField()

    class Meta(VersionSerializer.Meta):
        fields = ("model", *VersionSerializer.Meta.fields)
        read_only_fields = fields


class AliasSerializer(serializers.ModelSerializer[Alias]):
    version = serializers.SlugRelatedField(slug_field="number", read_only=True)

    class Meta:
        model = Alias
        fields = ("name", "version", "moved")
        read_only_fields = fields


class AliasSetSerializer(serializers.Serializer[Alias]):
    version = serializers.IntegerField(min_value=1, max_value=2**31 - 1)


class SignatureSerializer(serializers.Serializer[None]):
    """Summary of a behaviour signature; all of it self-reported, measured on the publisher's own reference sample."""

    recipe = serializers.CharField()
    content_hash = serializers.CharField()
    n = serializers.IntegerField()
    accuracy = serializers.FloatField(allow_null=True)
    computed = serializers.DateTimeField()
    summary = serializers.DictField()


class FacetOptionSerializer(serializers.Serializer[None]):
    value = serializers.CharField()
    label = serializers.CharField()
    count = serializers.IntegerField()
    chosen = serializers.BooleanField()


class FacetSerializer(serializers.Serializer[None]):
    key = serializers.CharField()
    label = serializers.CharField()
    options = FacetOptionSerializer(many=True)


class FreedSerializer(serializers.Serializer[None]):
    freed_bytes = serializers.IntegerField()


class ProblemSerializer(serializers.Serializer[None]):
    """An error (RFC 9457 problem details). errors: by field, where there are any."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(allow_blank=True)
    fix = serializers.CharField(allow_blank=True)
    errors = serializers.DictField(required=False)


SORT_VALUES = sorted([*SORTS, *(f"-{key}" for key in SORTS)])
