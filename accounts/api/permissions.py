"""Scopes of API tokens. A signed-in browser session has every scope of its person."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.models import ApiToken


class IsAuthenticatedInScope(BasePermission):
    """A view names its area with `scope = "catalog"` or `"search"`; reading needs area:read, anything else area:write."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not request.user or not request.user.is_authenticated:
            return False
        if not isinstance(request.auth, ApiToken):
            return True
        area = getattr(view, "scope", None)
        if area is None:
            return False
        needed = f"{area}:{'read' if request.method in SAFE_METHODS else 'write'}"
        self.message = f"This token lacks the scope {needed}."
        return needed in request.auth.scopes


class SessionOnly(BasePermission):
    """What a token must never do, whatever its scopes: make tokens, change who is in a team."""

    message = "This needs a signed-in browser session; an API token cannot do it."

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.is_authenticated) and not isinstance(request.auth, ApiToken)


class AnyScope(BasePermission):
    """For what belongs to no area (the person behind a token, their jobs): reading needs any scope, changing any write scope."""

    message = "This token has no scope that writes."

    def has_permission(self, request: Request, view: Any) -> bool:
        if not request.user or not request.user.is_authenticated:
            return False
        if not isinstance(request.auth, ApiToken) or request.method in SAFE_METHODS:
            return True
        return any(scope.endswith(":write") for scope in request.auth.scopes)
