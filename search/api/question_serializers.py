"""JSON of a search's question: constraints, metric, and which models it would run."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework import serializers

from catalog.api.paging import device_named
from gpuworker.core.specs import SCORERS
from search.api.sampleset_serializers import BIG, StrictSerializer
from search.constraints import Constraints
from search.metrics import CHOICES, MOST_LABELS


class ConstraintsSerializer(StrictSerializer):
    """Left out or null: no limit. device: name of a measured device, for which latency and memory are then predicted; else they are
    those measured at publication. A model without a figure counts as over the limit."""

    label_key = serializers.CharField(max_length=64, required=False, allow_blank=True)
    licences = serializers.ListField(child=serializers.CharField(max_length=60), max_length=200, required=False)
    tasks = serializers.ListField(child=serializers.CharField(max_length=60), max_length=200, required=False)
    teams = serializers.ListField(child=serializers.CharField(max_length=60), max_length=200, required=False)
    max_size_bytes = serializers.IntegerField(min_value=1, max_value=10**17, required=False, allow_null=True)
    max_latency_ms = serializers.FloatField(min_value=1e-9, max_value=1e12, required=False, allow_null=True)
    max_memory_bytes = serializers.IntegerField(min_value=1, max_value=10**17, required=False, allow_null=True)

    device = serializers.CharField(max_length=200, required=False, allow_blank=True)

    def validate_device(self, name: str) -> str:
        return device_named(name).name if name else ""

    @staticmethod
    def value(data: dict[str, Any]) -> Constraints:
        return Constraints.from_json(data)


class SearchPlanSerializer(StrictSerializer):
    """The question, before it is asked."""

    sample_set = serializers.IntegerField(min_value=1, max_value=BIG)
    constraints = ConstraintsSerializer(required=False)
    n_samples = serializers.IntegerField(
        min_value=1, max_value=settings.SEARCH_MAX_SAMPLES, required=False, allow_null=True, help_text="Left out: all samples."
    )


class MetricSerializer(StrictSerializer):
    """What "best" means. label: whose F1 (kind f1). labels and costs: for kind cost, a row of costs for each true label and a column for
    each answer, from 0 up, both in the order of `labels`."""

    kind = serializers.ChoiceField(choices=list(CHOICES))
    label = serializers.CharField(max_length=200, required=False)
    labels = serializers.ListField(child=serializers.CharField(max_length=200), max_length=MOST_LABELS, required=False)
    costs = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField(min_value=0, max_value=1e9), max_length=MOST_LABELS),
        max_length=MOST_LABELS,
        required=False,
    )


class SearchCreateSerializer(SearchPlanSerializer):
    name = serializers.CharField(max_length=140, required=False, allow_blank=True, default="")
    scorers = serializers.ListField(
        child=serializers.ChoiceField(choices=list(SCORERS)),
        required=False,
        min_length=1,
        max_length=50,
        help_text="Left out: the default ones.",
    )
    metric = MetricSerializer(required=False, help_text="Left out: accuracy.")
    drop_level = serializers.FloatField(
        min_value=0.0001,
        max_value=0.5,
        required=False,
        allow_null=True,
        help_text="A candidate leaves when its chance of coming within one point of the best is under this, and the chance that the best "
        "is among all who leave at once under half of it. Left out: 0.02; null: never.",
    )

    def validate_scorers(self, keys: list[str]) -> list[str]:
        if not any(SCORERS[key].predicts_accuracy and SCORERS[key].cost == "forward" for key in keys):
            raise serializers.ValidationError("Give at least one scorer that predicts accuracy by running the models: dawid_skene or atc.")
        return keys


class ExclusionSerializer(serializers.Serializer[None]):
    """Models left out for one reason; relax names the constraint that would let them in, "" where none would."""

    key = serializers.CharField()
    sentence = serializers.CharField()
    count = serializers.IntegerField()
    examples = serializers.ListField(child=serializers.ListField(child=serializers.CharField(allow_blank=True)))
    relax = serializers.CharField(allow_blank=True)


class LabelSpaceSerializer(serializers.Serializer[None]):
    label_key = serializers.CharField()
    labels = serializers.ListField(child=serializers.CharField())
    count = serializers.IntegerField()


class RelaxedSerializer(serializers.Serializer[None]):
    """What dropping one constraint would bring; constraint "" = all of them together."""

    constraint = serializers.CharField(allow_blank=True)
    gained = serializers.IntegerField()
    nearest = serializers.CharField(allow_blank=True)


class ExpectedSerializer(serializers.Serializer[None]):
    """What the candidates take on the workers' device, one by one over all samples: more than a search takes. low, high: 90 % interval
    of the seconds. memory_bytes: of the largest. known: how many have a prediction; the others are not counted."""

    device = serializers.CharField()
    seconds = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()
    memory_bytes = serializers.IntegerField()
    known = serializers.IntegerField()


class PlanAnswerSerializer(serializers.Serializer[None]):
    """candidates: names of those that would run. relaxed: only where there is none. expected: null where nothing is predicted."""

    candidates = serializers.ListField(child=serializers.CharField())
    left_out = serializers.IntegerField()
    label_key = serializers.CharField(allow_blank=True)
    label_spaces = LabelSpaceSerializer(many=True)
    excluded = ExclusionSerializer(many=True)
    relaxed = RelaxedSerializer(many=True)
    expected = ExpectedSerializer(allow_null=True)
