"""`size` in templates: bytes as people read them. A builtin, see TEMPLATES."""

from __future__ import annotations

from typing import Any

from django import template

from accounts.sizes import size_text

register = template.Library()


@register.filter
def size(count: Any) -> str:
    """1500000 -> 1.5 MB; None and what a template makes of a missing number -> a dash."""
    return "–" if count in (None, "") else size_text(count)
