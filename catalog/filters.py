"""What a person asked of the catalog, read from the address, and its effect on a query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from django.contrib.postgres.search import SearchQuery, SearchRank
from django.db.models import F, FloatField, Q, Value
from django.http import QueryDict

from catalog.models import RegisteredModelQuerySet
from catalog.services.models import SEARCH_CONFIG

MAX_Q = 200
MAX_CHOSEN = 50
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Bucket:
    """A range of a number, low <= x < high; None = open."""

    key: str
    label: str
    low: int | None
    high: int | None

    def condition(self, field: str) -> Q:
        condition = Q(**{f"{field}__isnull": False})
        if self.low is not None:
            condition &= Q(**{f"{field}__gte": self.low})
        if self.high is not None:
            condition &= Q(**{f"{field}__lt": self.high})
        return condition


@dataclass(frozen=True, slots=True)
class Facet:
    """A property to narrow the catalog by. Several values of one facet widen, several facets narrow. buckets: for numbers."""

    key: str
    label: str
    field: str
    buckets: tuple[Bucket, ...] = ()

    def condition(self, values: tuple[str, ...]) -> Q:
        if not self.buckets:
            return Q(**{f"{self.field}__in": values})
        chosen = Q(pk__in=[])
        for bucket in self.buckets:
            if bucket.key in values:
                chosen |= bucket.condition(self.field)
        return chosen


_PARAMETERS = (
    Bucket("under-10k", "under 10 thousand", None, 10_000),
    Bucket("10k-100k", "10 to 100 thousand", 10_000, 100_000),
    Bucket("100k-1m", "100 thousand to 1 million", 100_000, 1_000_000),
    Bucket("1m-10m", "1 to 10 million", 1_000_000, 10_000_000),
    Bucket("10m-100m", "10 to 100 million", 10_000_000, 100_000_000),
    Bucket("over-100m", "100 million and more", 100_000_000, None),
)
_SIZES = (
    Bucket("under-1mb", "under 1 MB", None, 10**6),
    Bucket("1-10mb", "1 to 10 MB", 10**6, 10**7),
    Bucket("10-100mb", "10 to 100 MB", 10**7, 10**8),
    Bucket("100mb-1gb", "100 MB to 1 GB", 10**8, 10**9),
    Bucket("over-1gb", "1 GB and more", 10**9, None),
)
FACETS: dict[str, Facet] = {
    facet.key: facet
    for facet in (
        Facet("task", "Task", "task"),
        Facet("modality", "Modality", "modality"),
        Facet("labels", "Label set", "label_key"),
        Facet("architecture", "Architecture", "architecture"),
        Facet("parameters", "Parameters", "parameters", _PARAMETERS),
        Facet("size", "File size", "size_bytes", _SIZES),
        Facet("licence", "Licence", "licence"),
        Facet("team", "Team", "team__slug"),
    )
}


@dataclass(frozen=True, slots=True)
class ModelFilters:
    """q: words. chosen: facet key -> values. Hashable parts only, so that a filter set can be compared and varied."""

    q: str = ""
    chosen: Mapping[str, tuple[str, ...]] | None = None

    @property
    def facets(self) -> Mapping[str, tuple[str, ...]]:
        return self.chosen or {}

    @property
    def active(self) -> bool:
        return bool(self.q or self.facets)

    def apply(self, models: RegisteredModelQuerySet, *, without: str = "") -> RegisteredModelQuerySet:
        """Models that match, leaving out one facet (or "q"); annotated with `relevance` while there are words."""
        query = text_query(self.q) if self.q and without != "q" else None
        if query is not None:
            models = models.filter(text=query).annotate(relevance=SearchRank(F("text"), query))
        else:
            models = models.annotate(relevance=Value(0.0, output_field=FloatField()))
            if self.q and without != "q":
                models = models.none()
        for key, values in self.facets.items():
            if key != without:
                models = models.filter(FACETS[key].condition(values))
        return models

    def toggled(self, facet: str, value: str) -> ModelFilters:
        values = self.facets.get(facet, ())
        changed = tuple(item for item in values if item != value) if value in values else (*values, value)
        rest = {key: item for key, item in self.facets.items() if key != facet}
        return replace(self, chosen=rest | ({facet: changed} if changed else {}))

    def dropped(self, key: str) -> ModelFilters:
        """Without one facet, or without the words."""
        if key == "q":
            return replace(self, q="")
        return replace(self, chosen={name: values for name, values in self.facets.items() if name != key})

    def query_string(self, **more: str) -> str:
        """`?q=...&task=...` in a fixed order, with further parameters; those that are empty are left out."""
        pairs = [("q", self.q)] + [(key, value) for key in FACETS for value in self.facets.get(key, ())] + list(more.items())
        return "?" + urlencode([pair for pair in pairs if pair[1]])


def parse_filters(query: QueryDict) -> ModelFilters:
    """Unknown parameters are ignored; NUL, which PostgreSQL cannot store, is dropped."""
    chosen = {}
    for key in FACETS:
        values = tuple(dict.fromkeys(clean for value in query.getlist(key)[:MAX_CHOSEN] if (clean := value.replace("\0", "")[:200])))
        if values:
            chosen[key] = values
    return ModelFilters(query.get("q", "").replace("\0", "").strip()[:MAX_Q], chosen)


def text_query(text: str) -> SearchQuery | None:
    """All words, each also as the beginning of a word. None when there is no word.

    Asked twice: by stems, which forgives endings and common words, and as written, so that "a" finds "alpha".
    """
    words = _WORD.findall(text)
    if not words:
        return None
    raw = " & ".join(f"'{word}':*" for word in words)
    return SearchQuery(raw, config=SEARCH_CONFIG, search_type="raw") | SearchQuery(raw, config="simple", search_type="raw")
