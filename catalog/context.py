"""What the navigation needs of the catalog on every page."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.models import User
from catalog.access import has_curating


def navigation(request: HttpRequest) -> dict[str, Any]:
    """curates: the review queue has a place in this person's navigation. Asked of the database only where a page shows it."""
    user = getattr(request, "user", None)
    return {"curates": SimpleLazyObject(lambda: isinstance(user, User) and has_curating(user))}
