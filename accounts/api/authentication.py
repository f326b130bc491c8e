"""Bearer tokens for the REST API."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.bearer import BadToken, token_from_header
from accounts.models import ApiToken, User


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer msh_...`. Revoked, expired or unknown tokens are all the same 401."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        try:
            token = token_from_header(request.headers.get("Authorization", ""))
        except BadToken as error:
            raise AuthenticationFailed(str(error)) from error
        return None if token is None else (token.user, token)

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="modelshop"'
