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
