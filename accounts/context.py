"""What the page shell needs on every page."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def shell(request: HttpRequest) -> dict[str, Any]:
    """shortcuts_off: this person switched single-key shortcuts off. signup_open: people may make accounts themselves.

    sends_mail: e-mail leaves this installation, instead of standing in its log.
    """
    user = getattr(request, "user", None)
    return {
        "shortcuts_off": bool(user and user.is_authenticated and not user.shortcuts),
        "signup_open": settings.SIGNUP_OPEN,
        "sends_mail": not settings.EMAIL_BACKEND.endswith("console.EmailBackend"),
    }
