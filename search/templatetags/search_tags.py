"""What the search templates need beyond the rows: row views, columns, names of leaders, figures as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import template
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from gpuworker.core.specs import MODALITIES, SCORERS, ScorerSpec
from search.models import Candidate, Search
from search.rows import Column, RowView, board_columns, probability, row_view

register = template.Library()
LINE_WIDTH, LINE_HEIGHT = 200.0, 60.0
SHOWN_CHANNELS = 6


@register.simple_tag
def board_row(candidate: Candidate, search: Search) -> RowView:
    return row_view(candidate, search)


@register.simple_tag
def columns_of(search: Search) -> tuple[Column, ...]:
    return board_columns(search)


@register.simple_tag
def verdict_leaders(search: Search, limit: int = 6) -> list[Candidate]:
    """The candidates that the verdict names, best first; one query, none where it names nobody."""
    ids = list(search.verdict.get("leaders", []))[:limit]
    if not ids:
        return []
    rows = {row.pk: row for row in search.candidates.filter(pk__in=ids).select_related("version__model__team").defer("version__program")}
    return [rows[pk] for pk in ids if pk in rows]


@register.simple_tag
def scorer_spec(key: str) -> ScorerSpec | None:
    return SCORERS.get(key)


@register.filter
def share(value: object) -> str:
    """0.873 > 87.3 %; nothing for a missing figure, which is a state of its own and never 0."""
    return f"{100 * value:.1f}\u00a0%" if isinstance(value, (int, float)) else ""


register.filter("probability", probability)


@register.filter
def seconds(value: object) -> str:
    """A duration in the largest fitting unit."""
    if not isinstance(value, (int, float)):
        return ""
    if value < 1:
        return _("under 1 s")
    if value < 120:
        return _("%(n)d s") % {"n": round(value)}
    return _("%(n)d min") % {"n": round(value / 60)} if value < 7200 else _("%(n).1f h") % {"n": value / 3600}


@register.filter
def time_taken(value: object) -> str:
    """As `seconds`, with figures below ten seconds."""
    if not isinstance(value, (int, float)) or value >= 10:
        return seconds(value)
    if value < 0.001:
        return _("under 1 ms")
    return f"{value:.1f} s" if value >= 1 else f"{1000 * value:.0f} ms"


@register.filter
def milliseconds(value: object) -> str:
    return f"{value:.3g} ms" if isinstance(value, (int, float)) else ""


@register.filter
def modality_label(key: str) -> str:
    return MODALITIES[key].label if key in MODALITIES else key


@register.filter
def get(mapping: Mapping[str, Any], key: str) -> Any:
    return mapping.get(key, "") if isinstance(mapping, Mapping) else ""


@register.filter
def models_count(count: int) -> str:
    return ngettext("%(n)d model", "%(n)d models", count) % {"n": count}


@dataclass(frozen=True, slots=True)
class ChannelLine:
    name: str
    points: str
    low: str
    high: str


@register.filter
def channel_lines(item: Mapping[str, Any]) -> list[ChannelLine]:
    """The channels of a series preview as points in a box of 200 by 60, each on its own scale."""
    lines = []
    for channel in list(item.get("channels", []))[:SHOWN_CHANNELS]:
        values = [float(point) for point in channel["points"] if isinstance(point, (int, float))]
        if not values:
            continue
        low, high = min(values), max(values)
        span = (high - low) or 1.0
        step = LINE_WIDTH / max(len(values) - 1, 1)
        dots = " ".join(f"{step * i:.1f},{LINE_HEIGHT - 2 - (LINE_HEIGHT - 4) * (v - low) / span:.1f}" for i, v in enumerate(values))
        lines.append(ChannelLine(str(channel["name"]), dots, f"{low:.3g}", f"{high:.3g}"))
    return lines
