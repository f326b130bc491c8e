"""Numbers as people read them."""

from __future__ import annotations

from typing import Any

from django import template

from catalog.models import VersionState

register = template.Library()
UNKNOWN = (None, "")  # "" is what a template makes of a missing signature
_STEPS = ((1e9, "B"), (1e6, "M"), (1e3, "k"))
_BADGES = {
    VersionState.PUBLISHED: "ok",
    VersionState.IN_REVIEW: "info",
    VersionState.READY: "info",
    VersionState.CHECKING: "warn",
    VersionState.REJECTED: "danger",
}


@register.filter
def compact(value: Any) -> str:
    """1234567 -> 1.23 M; None -> a dash."""
    if value in UNKNOWN:
        return "–"
    for step, unit in _STEPS:
        if abs(value) >= step:
            return f"{value / step:.3g} {unit}"
    return f"{value:g}"


@register.filter
def percent(value: Any) -> str:
    """0.913 -> 91.3 %; None -> a dash."""
    return "–" if value in UNKNOWN else f"{100 * value:.1f} %"


@register.filter
def milliseconds(value: Any) -> str:
    """0.412 -> 0.41 ms; 2345 -> 2.3 s; None -> a dash."""
    if value in UNKNOWN:
        return "–"
    return f"{value / 1000:.2g} s" if value >= 1000 else f"{value:.2g} ms" if value < 10 else f"{value:.0f} ms"


@register.simple_tag
def time_range(low: float, high: float) -> str:
    """0.22, 0.48 -> 0.22–0.48 ms; 40, 1200 -> 40 ms – 1.2 s."""
    first, last = milliseconds(low), milliseconds(high)
    same = first.rpartition(" ")[2] == last.rpartition(" ")[2]
    return f"{first.rpartition(' ')[0]}–{last}" if same else f"{first} – {last}"


@register.filter
def state_badge(state: str) -> str:
    """The badge class of a version's state."""
    return _BADGES.get(VersionState(state), "outline")


@register.filter
def short_hash(value: str) -> str:
    return value[:12]
