"""What labels say of a candidate, for the board's rows."""

from __future__ import annotations

from django import template

from search.labelling_models import Confirmed, confirmed
from search.models import Candidate

register = template.Library()


@register.filter
def confirmed_figure(candidate: Candidate) -> Confirmed | None:
    return confirmed(candidate)
