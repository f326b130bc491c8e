"""JSON of sample sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction
from rest_framework import serializers

from accounts.models import Team, User
from catalog.models import modality_choices
from search.models import SampleSet

BIG = 2**62


class StrictSerializer(serializers.Serializer[None]):
    """Unknown names are errors: a misspelt limit must not silently limit nothing."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = sorted(str(name) for name in set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError(dict.fromkeys(unknown, [f"Unknown. Known are: {', '.join(self.fields)}."]))
        return super().to_internal_value(data)


class ClosedObject(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]  # the base registers its subclasses
    """Says in the schema what StrictSerializer does."""

    target_class = StrictSerializer
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        schema: dict[str, Any] = auto_schema._map_serializer(  # type: ignore[no-untyped-call]
            self.target, direction, bypass_extensions=True
        )
        return schema | {"additionalProperties": False}


class ReadingOptionsSerializer(StrictSerializer):
    """How files are read; what is left out is guessed."""

    columns = serializers.ListField(child=serializers.CharField(max_length=400), max_length=5_000, required=False)
    labels_from = serializers.ChoiceField(choices=["auto", "none", "folder"], required=False)
    where_column = serializers.CharField(max_length=400, required=False)
    where_value = serializers.CharField(max_length=400, required=False)
    delimiter = serializers.ChoiceField(choices=[",", ";", "\t", "|", " "], required=False)
    encoding = serializers.ChoiceField(choices=["utf-8", "utf-16", "latin-1", "cp1252"], required=False)
    limit = serializers.IntegerField(min_value=1, max_value=BIG, required=False)
    layout = serializers.ChoiceField(choices=["NHWC", "NCHW", "NTC", "NCT", "long", "wide"], required=False)
    window = serializers.IntegerField(min_value=1, max_value=65_536, required=False)
    stride = serializers.IntegerField(min_value=1, max_value=65_536, required=False)
    sample_column = serializers.CharField(max_length=400, required=False)
    time_column = serializers.CharField(max_length=400, required=False)
    channel_names = serializers.ListField(child=serializers.CharField(max_length=400), max_length=5_000, required=False)
    units = serializers.ListField(child=serializers.CharField(max_length=40, allow_blank=True), max_length=4_096, required=False)
    rate_hz = serializers.FloatField(min_value=1e-9, max_value=1e12, required=False)
    scale = serializers.FloatField(min_value=-1e30, max_value=1e30, required=False)
    array = serializers.CharField(max_length=400, required=False)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if ("where_column" in data) != ("where_value" in data):
            raise serializers.ValidationError({"where_column": "where_column and where_value go together."})
        if "stride" in data and "window" not in data:
            raise serializers.ValidationError({"stride": "A stride needs a window."})
        return data


class ReadingSerializer(StrictSerializer):
    modality = serializers.ChoiceField(choices=modality_choices(), required=False, help_text="Left out: guess.")
    options = ReadingOptionsSerializer(required=False)


class SampleSetCreateSerializer(ReadingSerializer):
    """uploads: ids of finished tus uploads with purpose `samples`, each used once."""

    name = serializers.CharField(max_length=140, required=False, allow_blank=True, default="")
    uploads = serializers.ListField(child=serializers.UUIDField(), min_length=1, max_length=20_000)


class TeamSlugField(serializers.SlugRelatedField[Team]):
    """One of the person's own teams, by slug; null shares with nobody."""

    def __init__(self, **options: Any) -> None:
        super().__init__(slug_field="slug", queryset=Team.objects.none(), **options)

    def get_queryset(self) -> Any:
        user = self.context["request"].user if "request" in self.context else None
        return user.teams.filter(personal_of=None) if isinstance(user, User) else Team.objects.none()


class SampleSetChangeSerializer(StrictSerializer):
    """What is given is changed. retain_until: at most SAMPLE_RETENTION_DAYS from now."""

    name = serializers.CharField(max_length=140, required=False)
    shared_with = TeamSlugField(required=False, allow_null=True)
    retain_until = serializers.DateTimeField(required=False)


class ProblemItemSerializer(serializers.Serializer[None]):
    """A file or row that could not be used."""

    name = serializers.CharField()
    reason = serializers.CharField()
    row = serializers.IntegerField(allow_null=True)


class SampleSetSerializer(serializers.ModelSerializer[SampleSet]):
    """n of n_seen samples are usable. modality: "" until it is guessed. The error fields are set when state is failed."""

    owner = serializers.CharField(source="owner.username", read_only=True)
    shared_with = serializers.SlugRelatedField[Team](slug_field="slug", read_only=True, allow_null=True)
    url = serializers.CharField(source="get_absolute_url", read_only=True)
    modality = serializers.ChoiceField(choices=modality_choices(), allow_blank=True, read_only=True)

    class Meta:
        model = SampleSet
        fields = [
            "id",
            "url",
            "name",
            "owner",
            "shared_with",
            "demo",
            "state",
            "modality",
            "n",
            "n_seen",
            "n_problems",
            "exact_duplicates",
            "near_duplicates",
            "size_bytes",
            "content_hash",
            "created",
            "retain_until",
            "error_title",
            "error_detail",
            "error_fix",
        ]
        read_only_fields = fields


class SampleSetDetailSerializer(SampleSetSerializer):
    """guess: what was guessed and why, `used` the options that were used. meta: what compatibility is judged by."""

    guess = serializers.DictField(read_only=True)
    meta = serializers.DictField(read_only=True)
    options = serializers.DictField(read_only=True)

    class Meta(SampleSetSerializer.Meta):
        fields = [*SampleSetSerializer.Meta.fields, "options", "guess", "meta"]
        read_only_fields = fields


class FootprintSerializer(serializers.Serializer[None]):
    """What deleting the set takes with it."""

    searches = serializers.IntegerField()
    others_searches = serializers.IntegerField()
    candidates = serializers.IntegerField()
    reports = serializers.IntegerField()
    files = serializers.IntegerField()
    bytes = serializers.IntegerField()


class PreviewSerializer(serializers.Serializer[None]):
    """sample: an extract by kind (image, text, series, cells, pair), null beyond what is kept."""

    index = serializers.IntegerField()
    sample = serializers.DictField(allow_null=True)
