"""JSON of probe sets. Rows themselves are never shown."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from catalog.calibrations import Family, Measured
from catalog.models import modality_choices
from catalog.probe_detail import ModelRow, PieceRow, ProbeSetDetail
from catalog.probe_models import ProbeSlice
from catalog.probes import Alarm, ProbeSetRow, Standing


class ProbeSetSerializer(serializers.Serializer[ProbeSetRow]):
    """A team's probe set. rows: of all its slices. behind: slices that not every model has been run on yet."""

    team = serializers.CharField(source="team.slug")
    key = serializers.CharField()
    modality = serializers.ChoiceField(choices=modality_choices())
    labels = serializers.ListField(child=serializers.CharField())
    slices = serializers.IntegerField()
    rows = serializers.IntegerField()
    givers = serializers.IntegerField()
    behind = serializers.IntegerField()
    newest = serializers.DateTimeField()
    public = serializers.BooleanField()


class AlarmSerializer(serializers.Serializer[Alarm]):
    """Better than is plausible on somebody else's slice. All in [0, 1]; low is the lower limit of the accuracy."""

    accuracy = serializers.FloatField(source="excess.accuracy")
    low = serializers.FloatField(source="excess.low")
    best_peer = serializers.FloatField(source="excess.best_peer")
    plausible = serializers.FloatField(source="excess.plausible")


class PieceSerializer(serializers.Serializer[PieceRow]):
    """A slice of a set. labelled: samples that people labelled, else of the reference sample of `version`. version: null for these and
    for a model you may not see; given_by: null where you may not know it. used: rows in use; counts: of those, by label.

    source: slices with the same number come from one source. run: done, running, waiting or stuck.
    """

    id = serializers.IntegerField(source="piece.pk")
    labelled = serializers.BooleanField()
    version = serializers.StringRelatedField(allow_null=True)
    given_by = serializers.SerializerMethodField()
    given = serializers.DateTimeField(source="piece.given")
    rows = serializers.IntegerField(source="piece.n")
    encoder = serializers.CharField(source="piece.encoder")
    used = serializers.IntegerField()
    counts = serializers.ListField(child=serializers.IntegerField())
    source = serializers.IntegerField(allow_null=True)
    answered = serializers.IntegerField()
    run = serializers.ChoiceField(choices=["done", "running", "waiting", "stuck"])

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_given_by(self, row: PieceRow) -> str | None:
        return row.giver or None


class ProbeModelSerializer(serializers.Serializer[ModelRow]):
    """A model that searches consider. accuracy: on the slices of other models, null before it has answered any."""

    version = serializers.StringRelatedField()
    answered = serializers.IntegerField()
    failed = serializers.IntegerField()
    judged = serializers.IntegerField()
    accuracy = serializers.FloatField(allow_null=True)
    alarms = AlarmSerializer(many=True)


class MeasuredSerializer(serializers.Serializer[Measured]):
    """One metric. every, leaders, winner: share of 90 % intervals that held, of all models, of the first five, of the first; null where
    one source alone shows nothing. targets: made-up searches, from the rows of `publishers` sources, among `models` models.

    quantiles: [level, every, leaders, pairs] of the errors, each over its scale.
    """

    metric = serializers.CharField()
    every = serializers.FloatField(allow_null=True)
    leaders = serializers.FloatField(allow_null=True)
    winner = serializers.FloatField(allow_null=True)
    targets = serializers.IntegerField()
    publishers = serializers.IntegerField()
    models = serializers.IntegerField()
    made = serializers.DateTimeField()
    quantiles = serializers.ListField(child=serializers.ListField(child=serializers.FloatField()))


class ProbeSetDetailSerializer(serializers.Serializer[ProbeSetDetail]):
    """What a set holds. n: rows in use, 0 while no slice is ready. digest: of this choice of rows, "" without one.

    labels and counts in the same order. calibration: how often the intervals of predictions with these very rows held, by metric, empty
    before that was measured.
    """

    set = ProbeSetSerializer(source="row")
    labels = serializers.ListField(child=serializers.CharField())
    encoders = serializers.ListField(child=serializers.CharField())
    n = serializers.IntegerField()
    sources = serializers.IntegerField()
    duplicates = serializers.IntegerField()
    conflicts = serializers.IntegerField()
    digest = serializers.CharField(allow_blank=True)
    counts = serializers.ListField(child=serializers.IntegerField())
    asked = serializers.IntegerField()
    calibration = MeasuredSerializer(many=True)
    pieces = PieceSerializer(many=True)
    models = ProbeModelSerializer(many=True)


class CalibrationFamilySerializer(serializers.Serializer[Family]):
    """Kind of sample and label space, with the probes that your searches take there. measured: empty while it is not."""

    key = serializers.CharField()
    modality = serializers.ChoiceField(choices=modality_choices())
    labels = serializers.ListField(child=serializers.CharField())
    teams = serializers.ListField(child=serializers.CharField())
    digest = serializers.CharField()
    n = serializers.IntegerField()
    sources = serializers.IntegerField()
    measured = MeasuredSerializer(many=True)


class SharingSerializer(serializers.Serializer[None]):
    """public: everybody's searches may use the team's probes, not only its members'."""

    public = serializers.BooleanField()


class OwnSliceSerializer(serializers.ModelSerializer[ProbeSlice]):
    """The slice of a version's own reference sample. probe_set: the key of its set."""

    rows = serializers.IntegerField(source="n")
    probe_set = serializers.CharField(source="set_key")

    class Meta:
        model = ProbeSlice
        fields = ("rows", "probe_set", "encoder", "size_bytes", "given", "answered", "withdrawn")
        read_only_fields = fields


class FailureSerializer(serializers.Serializer[None]):
    reason = serializers.CharField()
    slices = serializers.IntegerField()


class ProbeStandingSerializer(serializers.Serializer[Standing]):
    """On the slices of other models that your searches may use. overlap: rows left out, the version's own reference sample holds them."""

    answered = serializers.IntegerField()
    failed = serializers.SerializerMethodField()
    judged = serializers.IntegerField()
    accuracy = serializers.FloatField(allow_null=True)
    overlap = serializers.IntegerField()
    alarms = AlarmSerializer(many=True)

    @extend_schema_field(FailureSerializer(many=True))
    def get_failed(self, standing: Standing) -> list[dict[str, object]]:
        return [{"reason": reason, "slices": count} for reason, count in standing.failed]


class VersionProbesSerializer(serializers.Serializer[None]):
    """own: null when no slice was ever given. standing: null where nobody else gave probes for these labels."""

    own = OwnSliceSerializer(allow_null=True)
    standing = ProbeStandingSerializer(allow_null=True)
