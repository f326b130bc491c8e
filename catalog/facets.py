"""Counts for the facet rail, the chips of active filters, and which filter to relax when nothing is left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count

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
    key: str
    label: str
    options: list[Option]

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
    """Every facet with the counts that the other filters leave; one query per facet and one for the names of label sets."""
    counts = {key: _counts(filters.apply(visible, without=key), facet) for key, facet in FACETS.items()}
    names = label_names({*counts["labels"], *filters.facets.get("labels", ())})
    return [_with_options(FACETS[key], found, filters.facets.get(key, ()), names) for key, found in counts.items()]


def _counts(models: RegisteredModelQuerySet, facet: Facet) -> dict[str, int]:
    models = models.order_by()
    if facet.buckets:
        found = models.aggregate(
            **{f"b{place}": Count("pk", filter=bucket.condition(facet.field)) for place, bucket in enumerate(facet.buckets)}
        )
        return {bucket.key: found[f"b{place}"] for place, bucket in enumerate(facet.buckets) if found[f"b{place}"]}
    rows = models.exclude(**{facet.field: ""}).values_list(facet.field).annotate(n=Count("pk")).order_by("-n", facet.field)
    return dict(rows[:MOST_OPTIONS])


def _with_options(facet: Facet, found: dict[str, int], chosen: tuple[str, ...], names: dict[str, str]) -> FacetCounts:
    values = [*found, *(value for value in chosen if value not in found)]
    return FacetCounts(
        facet.key, facet.label, [Option(value, value_label(facet, value, names), found.get(value, 0), value in chosen) for value in values]
    )


def value_label(facet: Facet, value: str, names: dict[str, str]) -> str:
    if facet.key == "modality" and value in MODALITIES:
        return MODALITIES[value].label
    if facet.key == "labels":
        return names.get(value, "unknown label set")
    return next((bucket.label for bucket in facet.buckets if bucket.key == value), value)


def label_names(keys: Iterable[str]) -> dict[str, str]:
    """label_key -> "cat, dog, fox and 7 more"."""
    versions = (
        ModelVersion.objects.filter(label_key__in=list(keys), state=VersionState.PUBLISHED)
        .order_by("label_key", "pk")
        .distinct("label_key")
    )
    return {key: _shortened(labels) for key, labels in versions.values_list("label_key", "labels")}


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
