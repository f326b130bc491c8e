"""Small steps that every page view takes."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest

from accounts.models import User
from gpuworker.core.errors import UserError


def person(request: HttpRequest) -> User:
    """The signed-in person; views are behind login_required."""
    assert isinstance(request.user, User)
    return request.user


def say_error(request: HttpRequest, error: UserError) -> None:
    """Show what happened, where, and what to do next."""
    messages.error(request, error.text)
