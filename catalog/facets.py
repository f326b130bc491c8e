"""Counts for the facet rail, the chips of active filters, and which filter to relax when nothing is left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Case, CharField, Expression, F, Min, Value, When

from catalog.filters import FACETS, Facet, ModelFilters
from catalog.models import ModelVersion, RegisteredModelQuerySet, VersionState
from gpuworker.core.specs import MODALITIES

MOST_OPTIONS = 30


@dataclass(frozen=True, slots=True)
class Option:
    """A value of a facet, and how many models it would show given the other filters."""

    value: str
    label: str
    count: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class FacetCounts:
    """The most frequent values of a facet. more: values that are not listed."""

    key: str
    label: str
    options: list[Option]
    more: int = 0

    @property
    def any_chosen(self) -> bool:
        return any(option.chosen for option in self.options)


@dataclass(frozen=True, slots=True)
class Relaxed:
    """What dropping filters would show. label: the filters dropped. left: those that stay. count: models then."""

    label: str
    left: ModelFilters
    count: int


def facet_counts(visible: RegisteredModelQuerySet, filters: ModelFilters) -> list[FacetCounts]:
    """Every facet with the counts that the other filters leave.

    Facets without a choice share one scan; each chosen facet takes one more, and the names of label sets another.
    """
    free = [facet for facet in FACETS.values() if facet.key not in filters.facets]
    counts = _counts(filters.apply(visible), free)
    for key in filters.facets:
        counts |= _counts(filters.apply(visible, without=key), [FACETS[key]])
    names = label_names({*list(counts["labels"])[:MOST_OPTIONS], *filters.facets.get("labels", ())})
    return [_with_options(facet, counts[key], filters.facets.get(key, ()), names) for key, facet in FACETS.items()]


def _counts(models: RegisteredModelQuerySet, facets: list[Facet]) -> dict[str, dict[str, int]]:
    """facet key -> value -> models, the most frequent first. One query, by GROUPING SETS, which the ORM cannot say."""
    if not facets:
        return {}
    columns = {f"facet_{facet.key}": _column(facet) for facet in facets}
    try:
        sql, parameters = models.order_by().annotate(**columns).values(*columns).query.sql_with_params()
    except EmptyResultSet:
        return {facet.key: {} for facet in facets}
    names = [connection.ops.quote_name(name) for name in columns]
    listed, sets = ", ".join(names), ", ".join(f"({name})" for name in names)
    # Only our own column names are put into the text; every value is a parameter.
    query = f"SELECT {listed}, GROUPING({listed}), COUNT(*) FROM ({sql}) AS matching GROUP BY GROUPING SETS ({sets})"  # noqa: S608
    counts: dict[str, dict[str, int]] = {facet.key: {} for facet in facets}
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        for *values, grouping, count in cursor.fetchall():
            # GROUPING is a bit mask whose only zero is the grouped column, the first column at the highest bit.
            place = next(place for place in range(len(facets)) if not grouping >> (len(facets) - 1 - place) & 1)
            if values[place]:
                counts[facets[place].key][values[place]] = count
    return {facet.key: _ranked(counts[facet.key], facet) for facet in facets}


def _column(facet: Facet) -> Expression | F:
    """The facet's value of a model as text; empty where it has none."""
    if not facet.buckets:
        return F(facet.field)
    cases = [When(bucket.condition(facet.field), then=Value(bucket.key)) for bucket in facet.buckets]
    return Case(*cases, default=Value(""), output_field=CharField())


def _ranked(found: dict[str, int], facet: Facet) -> dict[str, int]:
    """Ranges in their own order, values by frequency."""
    if facet.buckets:
        return {bucket.key: found[bucket.key] for bucket in facet.buckets if bucket.key in found}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _with_options(facet: Facet, found: dict[str, int], chosen: tuple[str, ...], names: dict[str, str]) -> FacetCounts:
    """At most MOST_OPTIONS values, and those that are chosen in any case."""
    shown = list(found)[:MOST_OPTIONS]
    values = [*shown, *(value for value in chosen if value not in shown)]
    options = [Option(value, value_label(facet, value, names), found.get(value, 0), value in chosen) for value in values]
    return FacetCounts(facet.key, facet.label, options, len(found) - len(shown))


def value_label(facet: Facet, value: str, names: dict[str, str]) -> str:
    if facet.key == "modality" and value in MODALITIES:
        return MODALITIES[value].label
    if facet.key == "labels":
        return names.get(value, "unknown label set")
    return next((bucket.label for bucket in facet.buckets if bucket.key == value), value)


def label_names(keys: Iterable[str]) -> dict[str, str]:
    """label_key -> "cat, dog, fox and 7 more"."""
    versions = ModelVersion.objects.filter(label_key__in=list(keys), state=VersionState.PUBLISHED)
    first = versions.order_by().values("label_key").annotate(first=Min("pk")).values("first")
    return {key: _shortened(labels) for key, labels in ModelVersion.objects.filter(pk__in=first).values_list("label_key", "labels")}


def _shortened(labels: list[str]) -> str:
    return ", ".join(labels) if len(labels) <= 4 else f"{', '.join(labels[:3])} and {len(labels) - 3} more"


def relaxations(visible: RegisteredModelQuerySet, filters: ModelFilters) -> list[Relaxed]:
    """Ways out when nothing is left, the one that shows most first: each filter that can be dropped alone, else the fewest together.

    At most two queries per active filter.
    """
    keys = [*(["q"] if filters.q else []), *filters.facets]
    single = [Relaxed(_label(key, filters), filters.dropped(key), filters.apply(visible, without=key).count()) for key in keys]
    found = sorted((item for item in single if item.count), key=lambda item: -item.count)
    return found or _together(visible, filters, keys)


def _together(visible: RegisteredModelQuerySet, filters: ModelFilters, keys: list[str]) -> list[Relaxed]:
    """Keep adding back the filter that costs least, starting from none; what could not be added back is what to drop."""
    kept, dropped = ModelFilters(), []
    for key in sorted(keys, key=lambda key: -_only(filters, key).apply(visible).count()):
        tried = _joined(kept, filters, key)
        if tried.apply(visible).exists():
            kept = tried
        else:
            dropped.append(_label(key, filters))
    count = kept.apply(visible).count()
    return [Relaxed(" + ".join(dropped), kept, count)] if count else []


def _only(filters: ModelFilters, key: str) -> ModelFilters:
    return _joined(ModelFilters(), filters, key)


def _joined(kept: ModelFilters, filters: ModelFilters, key: str) -> ModelFilters:
    if key == "q":
        return ModelFilters(filters.q, kept.facets)
    return ModelFilters(kept.q, {**kept.facets, key: filters.facets[key]})


def _label(key: str, filters: ModelFilters) -> str:
    return f'"{filters.q}"' if key == "q" else FACETS[key].label
