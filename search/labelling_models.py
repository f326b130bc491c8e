"""Labels that people gave to samples of a search, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.utils import timezone

if TYPE_CHECKING:  # which imports this module, so that Django finds its tables
    from search.models import Candidate, Search


class GivenLabelQuerySet(models.QuerySet["GivenLabel"]):
    def of(self, search: Search) -> GivenLabelQuerySet:
        """All people's words on a search, the oldest first."""
        return self.filter(search=search).order_by("given", "pk")


class GivenLabel(models.Model):
    """One person's last word on one sample. label: an index into `Search.labels`; null = they could not tell.

    weight: how much rarer the draw of this sample was than an even one, as a fair part of all labels needs it.
    """

    search = models.ForeignKey("search.Search", on_delete=models.CASCADE, related_name="given_labels")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    item = models.IntegerField()
    label = models.IntegerField(null=True, blank=True)
    weight = models.FloatField()
    given = models.DateTimeField(default=timezone.now)

    objects = GivenLabelQuerySet.as_manager()

    class Meta:
        ordering = ["given", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["search", "person", "item"], name="one_word_per_person_and_sample"),
            models.CheckConstraint(condition=models.Q(item__gte=0, weight__gt=0), name="label_of_a_drawn_sample"),
        ]

    def __str__(self) -> str:
        return f"{self.search_id}[{self.item}] by {self.person_id}"


class Confirmation(models.Model):
    """What the labels of a search say now, worked out anew with every label.

    n: samples whose label counts. figures: candidate id > {value, low, high, near_best}, shares in [0, 1]. sure: probability that the
    leader is within a point of the best. calibrates: the owner lets these labels show how far predictions were off. piece: labelled
    samples that the owner gave to a probe set, the last time; piece_rows: which, [[sample, label], ...], as they were then.
    """

    search = models.OneToOneField("search.Search", on_delete=models.CASCADE, related_name="confirmation")
    n = models.IntegerField(default=0)
    figures = models.JSONField(default=dict)
    kind = models.CharField(max_length=10, default="begin")
    leader = models.IntegerField(null=True, blank=True, help_text="Candidate id")
    sure = models.FloatField(default=0)
    calibrates = models.BooleanField(default=False)
    piece = models.OneToOneField("catalog.ProbeSlice", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    piece_rows = models.JSONField(default=list, blank=True)
    changed = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["-changed"], name="confirmation_changed", condition=models.Q(calibrates=True))]

    def __str__(self) -> str:
        return f"{self.n} labels of {self.search_id}"


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A candidate's accuracy as n labels and the predictions have it; shares in [0, 1], low and high a 90 % interval."""

    value: float
    low: float
    high: float
    n: int


def confirmed(candidate: Candidate) -> Confirmed | None:
    """None for a candidate that no label spoke of. No query where the candidate's search was fetched with its confirmation."""
    found: Confirmation | None = getattr(candidate.search, "confirmation", None)
    told = found.figures.get(str(candidate.pk)) if found else None
    return Confirmed(told["value"], told["low"], told["high"], found.n) if found and told else None
