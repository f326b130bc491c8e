"""REST API of confirming a search with labels: the next sample, a word on it, taking it back, and what the labels say."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from catalog.access import team_for_publisher
from catalog.probe_models import ProbeSlice
from gpuworker.core.labelling import verdict
from search.access import labelled_search_for_user, search_for_user
from search.api.sampleset_serializers import StrictSerializer
from search.api.samplesets import REFUSED, api_user
from search.labelling import CannotLabel, confirmation_calibrates, label_give, label_take_back, round_of
from search.labelling_models import Confirmation
from search.labelling_probes import Gift, confirmation_give, confirmation_take_back, gift_of
from search.models import Search
from search.previews import previews


class StandingSerializer(serializers.Serializer[None]):
    """One of the leaders; shares in [0, 1], low and high a 90 % interval. near_best: probability of being within a point of the best."""

    candidate = serializers.IntegerField()
    model = serializers.CharField()
    accuracy = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()
    near_best = serializers.FloatField()


class GivenLabelSerializer(serializers.Serializer[None]):
    """label null: could not tell."""

    item = serializers.IntegerField()
    label = serializers.CharField(allow_null=True)
    given = serializers.DateTimeField()


class ConfirmationSerializer(serializers.Serializer[None]):
    """What the labels say. labels: samples whose label counts; with 0 the standings are predictions. mine: the caller's own words.

    kind: begin = too few labels to stop; enough = the leader is within a point of the best with a probability above 0.9. disputed:
    samples on which as many people say one thing as another; they do not count. calibrates: the owner lets the labels show how far
    predictions were off.
    """

    labels = serializers.IntegerField()
    samples = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=["begin", "go_on", "enough"])
    leader = serializers.IntegerField(help_text="Candidate id")
    sure = serializers.FloatField()
    standings = StandingSerializer(many=True)
    mine = GivenLabelSerializer(many=True)
    disputed = serializers.ListField(child=serializers.IntegerField())
    calibrates = serializers.BooleanField()


class NextSampleSerializer(serializers.Serializer[None]):
    """The sample to label next, null once there is none. ticket: goes with the label; it holds for a day. preview: as of sample sets."""

    item = serializers.IntegerField(allow_null=True)
    ticket = serializers.CharField(allow_null=True)
    preview = serializers.DictField(allow_null=True)


class LabelGiveSerializer(StrictSerializer):
    ticket = serializers.CharField(max_length=500)
    label = serializers.CharField(max_length=300, allow_null=True, help_text="One of the search's labels; null = cannot tell.")


class CalibratesSerializer(StrictSerializer):
    calibrates = serializers.BooleanField()


class GiveSerializer(StrictSerializer):
    team = serializers.CharField(max_length=60, help_text="Short name of a team in which you may publish.")


class GivenSamplesSerializer(serializers.Serializer[ProbeSlice]):
    """Labelled samples in a probe set. rows: how many; probe_set: the key of the set in its team."""

    team = serializers.CharField(source="team.slug")
    probe_set = serializers.CharField(source="set_key")
    rows = serializers.IntegerField(source="n")
    given = serializers.DateTimeField()


class GiftSerializer(serializers.Serializer[Gift]):
    """What the owner gave to a probe set, and could give. labels: that count; rows: of them, drawn by lot so that they stand for all
    samples; missing: about so many more labels are needed. refused: why nothing can be given. given: null where nothing is kept.

    state: making = a worker takes the samples; running = models are being run on them; error: why it failed. anew: giving again would
    take other samples.
    """

    labels = serializers.IntegerField(source="draw.labels")
    rows = serializers.SerializerMethodField()
    missing = serializers.IntegerField(source="draw.missing")
    teams = serializers.SerializerMethodField()
    refused = serializers.CharField(allow_blank=True)
    state = serializers.ChoiceField(choices=["none", "making", "failed", "running", "in_use"])
    error = serializers.CharField(allow_blank=True)
    anew = serializers.BooleanField()
    given = GivenSamplesSerializer(source="piece", allow_null=True)

    def get_rows(self, gift: Gift) -> int:
        return len(gift.draw.rows)

    def get_teams(self, gift: Gift) -> list[str]:
        return [team.slug for team in gift.teams]


def document(search: Search, user: User) -> dict[str, Any]:
    """Raises CannotLabel where nothing has run."""
    found = round_of(search)
    belief = found.belief
    low, high = belief.interval
    word = verdict(belief)
    confirmation = Confirmation.objects.filter(search=search).first()
    answer = {
        "labels": len(found.labels),
        "samples": found.contest.samples,
        "kind": word.kind,
        "leader": found.candidates[word.leader].pk,
        "sure": word.sure,
        "standings": [
            {
                "candidate": found.candidates[place].pk,
                "model": str(found.candidates[place].version.model),
                "accuracy": float(belief.mean[place]),
                "low": float(low[place]),
                "high": float(high[place]),
                "near_best": float(belief.near_best[place]),
            }
            for place in found.order
        ],
        "mine": [
            {"item": row.item, "label": None if row.label is None else search.labels[row.label], "given": row.given}
            for row in found.given
            if row.person_id == user.pk
        ],
        "disputed": list(found.disputed),
        "calibrates": confirmation is not None and confirmation.calibrates,
    }
    return dict(ConfirmationSerializer(answer).data)


class LabelsView(APIView):
    """What the labels of a search say, and giving one."""

    scope = "search"

    @extend_schema(responses={200: ConfirmationSerializer, **REFUSED})
    def get(self, request: Request, pk: int) -> Response:
        """422 before anything has run."""
        return Response(document(search_for_user(request.user, pk), api_user(request)))

    @extend_schema(request=LabelGiveSerializer, responses={201: ConfirmationSerializer, **REFUSED})
    def post(self, request: Request, pk: int) -> Response:
        """Label the sample of the ticket; a second word of the same person on it replaces the first."""
        search = labelled_search_for_user(request.user, pk)
        given = LabelGiveSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        name = given.validated_data["label"]
        if name is not None and name not in search.labels:
            raise CannotLabel("The search has no such label.", detail=f"It has: {', '.join(search.labels[:20])}.", fix="Take one.")
        label = None if name is None else search.labels.index(name)
        label_give(search=search, actor=api_user(request), ticket=given.validated_data["ticket"], label=label)
        return Response(document(search, api_user(request)), status=status.HTTP_201_CREATED)

    @extend_schema(request=CalibratesSerializer, responses={200: ConfirmationSerializer, **REFUSED})
    def patch(self, request: Request, pk: int) -> Response:
        """Whether the labels may show how far predictions were off; its owner only."""
        search = search_for_user(request.user, pk, edit=True)
        given = CalibratesSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        confirmation_calibrates(search=search, actor=api_user(request), calibrates=given.validated_data["calibrates"])
        return Response(document(search, api_user(request)))


class NextSampleView(APIView):
    """The sample to label next; drawn by chance, the same until it is labelled or others label."""

    scope = "search"

    @extend_schema(responses={200: NextSampleSerializer, **REFUSED})
    def get(self, request: Request, pk: int) -> Response:
        search = labelled_search_for_user(request.user, pk)
        ask = round_of(search).ask(api_user(request))
        preview = None if ask is None else previews(search.sample_set, [ask.item])[0]
        answer = {"item": ask.item if ask else None, "ticket": ask.ticket if ask else None, "preview": preview}
        return Response(NextSampleSerializer(answer).data)


class LabelView(APIView):
    """The caller's own word on one sample."""

    scope = "search"

    @extend_schema(request=None, responses={200: ConfirmationSerializer, **REFUSED})
    def delete(self, request: Request, pk: int, item: int) -> Response:
        """Take it back; everything is as if it had never been given. 404 where there is none."""
        search = labelled_search_for_user(request.user, pk)
        if label_take_back(search=search, actor=api_user(request), item=item) is None:
            raise NotFound("You gave no label to this sample.")
        return Response(document(search, api_user(request)))


class GiftView(APIView):
    """Labelled samples for a team's probe set; for the owner of the search."""

    scope = "search"

    @extend_schema(responses={200: GiftSerializer, **REFUSED})
    def get(self, request: Request, pk: int) -> Response:
        """Which labelled samples are given to a probe set, and which could be."""
        return self._told(request, search_for_user(request.user, pk, edit=True))

    @extend_schema(request=GiveSerializer, responses={201: GiftSerializer, **REFUSED})
    def post(self, request: Request, pk: int) -> Response:
        """Give labelled samples: they are kept until withdrawn, models are run on them, and they replace what was given before."""
        search = search_for_user(request.user, pk, edit=True)
        given = GiveSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        team = team_for_publisher(request.user, given.validated_data["team"])
        confirmation_give(search=search, team=team, actor=api_user(request))
        return self._told(request, search, status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={200: GiftSerializer, **REFUSED})
    def delete(self, request: Request, pk: int) -> Response:
        """Withdraw what was given: samples, features and all answers on them are deleted at once."""
        search = search_for_user(request.user, pk, edit=True)
        confirmation_take_back(search=search, actor=api_user(request))
        return self._told(request, search)

    @staticmethod
    def _told(request: Request, search: Search, code: int = status.HTTP_200_OK) -> Response:
        try:
            found = round_of(search)
        except CannotLabel:
            found = None
        return Response(GiftSerializer(gift_of(search, found, api_user(request))).data, status=code)
