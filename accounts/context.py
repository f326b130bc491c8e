"""What the page shell needs on every page."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def shell(request: HttpRequest) -> dict[str, Any]:
    user = getattr(request, "user", None)
    signed_in = bool(user and user.is_authenticated)
    return {"can_curate": bool(signed_in and user.is_curator), "can_operate": bool(signed_in and user.is_staff)}
