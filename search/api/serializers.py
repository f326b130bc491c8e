"""JSON of searches, boards and reports."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.models import Team
from search.api.question_serializers import ConstraintsSerializer, ExclusionSerializer, MetricSerializer
from search.api.sampleset_serializers import StrictSerializer, TeamSlugField
from search.basis import basis_document
from search.models import Report, Search, SearchEvent


class SearchChangeSerializer(StrictSerializer):
    shared_with = TeamSlugField(allow_null=True)


class VerdictSerializer(serializers.Serializer[None]):
    """kind pending = nothing measured yet. leaders: candidate ids, best first."""

    kind = serializers.ChoiceField(choices=["pending", "recommend", "tie", "cannot_tell"])
    sentence = serializers.CharField(allow_blank=True)
    cause = serializers.CharField(allow_blank=True)
    next_step = serializers.CharField(allow_blank=True)
    leaders = serializers.ListField(child=serializers.IntegerField())
    metric = serializers.CharField(allow_blank=True, help_text="What the predictions speak of, by name.")
    method = serializers.CharField(allow_blank=True, help_text="Key of the scorer behind them.")


class UsedProbesSerializer(serializers.Serializer[None]):
    """Labelled probes that predictions rest on; {} until the search has looked for them, only `why` where there are none.

    answered of asked candidates have answered them; lost: rows withdrawn since the search began; calibrated: whether the intervals were
    measured with these probes.
    """

    digest = serializers.CharField(required=False)
    n = serializers.IntegerField(required=False)
    sources = serializers.IntegerField(required=False)
    asked = serializers.IntegerField(required=False)
    answered = serializers.IntegerField(required=False)
    lost = serializers.IntegerField(required=False)
    calibrated = serializers.BooleanField(required=False)
    why = serializers.CharField(required=False, allow_blank=True)


class SearchSerializer(serializers.ModelSerializer[Search]):
    """state: queued, running, finished, stopped, failed. last_seq: number of the last event."""

    owner = serializers.CharField(source="owner.username", read_only=True)
    shared_with = serializers.SlugRelatedField[Team](slug_field="slug", read_only=True, allow_null=True)
    url = serializers.CharField(source="get_absolute_url", read_only=True)
    sample_set = serializers.IntegerField(source="sample_set_id", read_only=True)
    rerun_of = serializers.IntegerField(source="rerun_of_id", read_only=True, allow_null=True)
    verdict = serializers.SerializerMethodField()

    class Meta:
        model = Search
        fields = [
            "id",
            "url",
            "name",
            "owner",
            "shared_with",
            "sample_set",
            "rerun_of",
            "state",
            "stage",
            "n_samples",
            "samples_done",
            "compute_seconds",
            "last_seq",
            "verdict",
            "created",
            "started",
            "prior_at",
            "first_row_at",
            "finished",
            "error_title",
            "error_detail",
            "error_fix",
        ]
        read_only_fields = fields

    def get_verdict(self, search: Search) -> VerdictSerializer:
        given = search.verdict
        empty = {"kind": "pending", "sentence": "", "cause": "", "next_step": "", "leaders": [], "metric": "", "method": ""}
        return {name: given.get(name, value) for name, value in empty.items()}  # type: ignore[return-value]  # the type is for the schema


class SearchDetailSerializer(SearchSerializer):
    """The board's header too: counts by candidate state, time left in seconds as a range, why a queued search waits."""

    constraints = ConstraintsSerializer(read_only=True)
    labels = serializers.ListField(child=serializers.CharField(), read_only=True)
    scorers = serializers.ListField(child=serializers.CharField(), read_only=True)
    excluded = ExclusionSerializer(many=True, read_only=True)
    metric = serializers.SerializerMethodField()
    probes = serializers.SerializerMethodField()
    counts = serializers.SerializerMethodField()
    eta_seconds = serializers.SerializerMethodField()
    waiting_reason = serializers.SerializerMethodField()
    worker = serializers.SerializerMethodField()
    done = serializers.SerializerMethodField()

    class Meta(SearchSerializer.Meta):
        fields = [
            *SearchSerializer.Meta.fields,
            "constraints",
            "labels",
            "scorers",
            "excluded",
            "metric",
            "drop_level",
            "probes",
            "counts",
            "eta_seconds",
            "waiting_reason",
            "worker",
            "done",
        ]
        read_only_fields = fields

    def _header(self) -> dict[str, Any]:
        return dict(self.context.get("header", {}))

    def get_metric(self, search: Search) -> MetricSerializer:
        return search.metric or {"kind": "accuracy"}  # type: ignore[return-value]  # the type is for the schema

    def get_probes(self, search: Search) -> UsedProbesSerializer:
        return basis_document(search)  # type: ignore[return-value]  # the type is for the schema

    def get_counts(self, search: Search) -> dict[str, int]:
        return dict(self._header().get("counts", {}))

    def get_eta_seconds(self, search: Search) -> list[float] | None:
        eta = self._header().get("eta")
        return list(eta) if eta else None

    def get_waiting_reason(self, search: Search) -> str:
        return str(self._header().get("waiting_reason", ""))

    def get_worker(self, search: Search) -> str:
        """Name of the worker that holds the search; empty where none does."""
        return str(self._header().get("worker", ""))

    def get_done(self, search: Search) -> float | None:
        """Share of the planned predictions that were made, in [0, 1]."""
        return self._header().get("done")


class CandidateSerializer(serializers.Serializer[None]):
    """A row of the board. Shares lie in [0, 1]; null = not known. grade prior: nothing executed; predicted: executed, no labels."""

    id = serializers.IntegerField()
    position = serializers.IntegerField(help_text="Place on the board from 1; ties keep an order but share a rank.")
    model = serializers.CharField()
    version = serializers.IntegerField()
    title = serializers.CharField()
    licence = serializers.CharField(allow_blank=True)
    state = serializers.CharField()
    grade = serializers.ChoiceField(choices=["prior", "predicted"])
    rank = serializers.IntegerField(allow_null=True, help_text="As shown: rows that cannot be separated share the first of their places.")
    rank_from = serializers.IntegerField(allow_null=True, help_text="One more than are better beyond chance.")
    rank_to = serializers.IntegerField(allow_null=True)
    predicted_accuracy = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    p_best = serializers.FloatField(allow_null=True)
    confirmed_accuracy = serializers.FloatField(allow_null=True, help_text="From labels and predictions; null without labels.")
    confirmed_low = serializers.FloatField(allow_null=True)
    confirmed_high = serializers.FloatField(allow_null=True)
    confirmed_labels = serializers.IntegerField()
    why = serializers.CharField(allow_blank=True)
    samples = serializers.IntegerField()
    latency_ms = serializers.FloatField(allow_null=True)
    memory_bytes = serializers.IntegerField(allow_null=True)
    size_bytes = serializers.IntegerField(allow_null=True)
    prior_place = serializers.IntegerField(allow_null=True)
    scores = serializers.DictField(child=serializers.DictField())
    error = serializers.CharField(allow_blank=True)


class MarkTableSerializer(serializers.Serializer[None]):
    """A plot as the table behind it."""

    key = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    columns = serializers.ListField(child=serializers.CharField())
    rows = serializers.ListField(child=serializers.ListField(child=serializers.CharField(allow_blank=True)))
    note = serializers.CharField(allow_blank=True)


class PlanPartSerializer(serializers.Serializer[None]):
    """One part of the plan. candidates: titles, by branch; predicted, actual: milliseconds for all samples, and so far."""

    number = serializers.IntegerField()
    name = serializers.CharField()
    candidates = serializers.ListField(child=serializers.ListField(child=serializers.CharField()))
    width = serializers.IntegerField()
    shared = serializers.BooleanField()
    reads = serializers.ListField(child=serializers.IntegerField())
    predicted = serializers.FloatField()
    actual = serializers.FloatField(allow_null=True)


class CandidateCostSerializer(serializers.Serializer[None]):
    """Seconds; alone and share are null for a candidate outside the plan."""

    title = serializers.CharField()
    alone = serializers.FloatField(allow_null=True)
    share = serializers.FloatField(allow_null=True)
    seconds = serializers.FloatField()


class ExecutionSerializer(serializers.Serializer[None]):
    """How the candidates run as one. predicted, low, high, loop, seconds, piece: seconds; memory: bytes; shared: share of the work."""

    predicted = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()
    loop = serializers.FloatField()
    seconds = serializers.FloatField(allow_null=True)
    shared = serializers.FloatField()
    memory = serializers.IntegerField()
    piece = serializers.FloatField()
    chunk = serializers.IntegerField()
    device = serializers.CharField()
    measured = serializers.BooleanField()
    hidden = serializers.IntegerField()
    one_by_one = serializers.ListField(child=serializers.CharField())
    parts = PlanPartSerializer(many=True)
    costs = CandidateCostSerializer(many=True)


class ToldSerializer(serializers.Serializer[None]):
    """One scorer's word; value null = cannot tell, and why says the cause."""

    scorer = serializers.CharField()
    label = serializers.CharField()
    grade = serializers.CharField()
    value = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    why = serializers.CharField(allow_blank=True)
    help = serializers.CharField()
    source = serializers.CharField(allow_blank=True)


class OddSerializer(serializers.Serializer[None]):
    """A sample on which the candidate stands against the plurality of the leaders."""

    index = serializers.IntegerField()
    own = serializers.CharField()
    confidence = serializers.FloatField()
    majority = serializers.CharField()
    others = serializers.IntegerField()
    of = serializers.IntegerField()


class CalibrationSerializer(serializers.Serializer[None]):
    """Self-reported on the publisher's labelled reference sample. error, scaled: expected calibration error as the model answers,
    and once its outputs are divided by the temperature."""

    n = serializers.IntegerField()
    accuracy = serializers.FloatField()
    error = serializers.FloatField(allow_null=True)
    scaled = serializers.FloatField(allow_null=True)
    temperature = serializers.FloatField(allow_null=True)


class CandidateDetailSerializer(serializers.Serializer[None]):
    """A row with its evidence: what each scorer said, plots as tables, samples on which it stands alone."""

    row = CandidateSerializer()
    history = serializers.ListField(child=serializers.ListField(child=serializers.FloatField(allow_null=True)))
    predicted_balance = serializers.ListField(child=serializers.FloatField())
    told = ToldSerializer(many=True)
    plots = MarkTableSerializer(many=True)
    disagreements = OddSerializer(many=True)
    n_disagreements = serializers.IntegerField()
    calibration = CalibrationSerializer(allow_null=True)
    uncalibrated = serializers.CharField(allow_blank=True, help_text="Why there is no calibration; empty where there is one.")
    warnings = serializers.ListField(child=serializers.CharField())
    error_fix = serializers.CharField(allow_blank=True)


class EventSerializer(serializers.ModelSerializer[SearchEvent]):
    payload = serializers.DictField()

    class Meta:
        model = SearchEvent
        fields = ["seq", "kind", "payload", "at"]
        read_only_fields = fields


class EventPageSerializer(serializers.Serializer[None]):
    """Events after the number asked for, oldest first. more: ask again from the last seq."""

    last_seq = serializers.IntegerField()
    more = serializers.BooleanField()
    events = EventSerializer(many=True)


class BoardSerializer(serializers.Serializer[None]):
    """The board as one document."""

    format = serializers.CharField()
    at = serializers.DateTimeField()
    search = serializers.DictField()
    verdict = serializers.DictField()
    constraints = serializers.DictField()
    labels = serializers.ListField(child=serializers.CharField())
    candidates = CandidateSerializer(many=True)
    excluded = ExclusionSerializer(many=True)


class VoteSerializer(serializers.Serializer[None]):
    candidate = serializers.IntegerField()
    label = serializers.CharField()
    confidence = serializers.FloatField()


class DisputedSerializer(serializers.Serializer[None]):
    """dissent: share of the leaders outside the largest group."""

    index = serializers.IntegerField()
    dissent = serializers.FloatField()
    votes = VoteSerializer(many=True)


class DisputedPageSerializer(serializers.Serializer[None]):
    n = serializers.IntegerField()
    n_disputed = serializers.IntegerField()
    leaders = serializers.ListField(child=serializers.IntegerField())
    samples = DisputedSerializer(many=True)


class MovedSerializer(serializers.Serializer[None]):
    title = serializers.CharField()
    before = serializers.FloatField(allow_null=True)
    after = serializers.FloatField(allow_null=True)
    rank_before = serializers.IntegerField(allow_null=True)
    rank_after = serializers.IntegerField(allow_null=True)
    new_version = serializers.BooleanField()


class DifferenceSerializer(serializers.Serializer[None]):
    """Against the search that this one repeats."""

    earlier = serializers.IntegerField()
    added = serializers.ListField(child=serializers.CharField())
    gone = serializers.ListField(child=serializers.CharField())
    moved = MovedSerializer(many=True)


class ReportSerializer(serializers.ModelSerializer[Report]):
    created_by = serializers.CharField(source="created_by.username", read_only=True)

    class Meta:
        model = Report
        fields = ["id", "created", "created_by"]
        read_only_fields = fields


class ReportDetailSerializer(ReportSerializer):
    """document: the frozen report (format modelshop.report/1)."""

    document = serializers.DictField(source="payload", read_only=True)

    class Meta(ReportSerializer.Meta):
        fields = [*ReportSerializer.Meta.fields, "document"]
        read_only_fields = fields
