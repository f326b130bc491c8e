"""Who is asking, for plain Django views that take a browser session or an API token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils import timezone

from accounts.models import ApiToken, User

TOUCH_EVERY = timedelta(minutes=1)


class BadToken(Exception):
    """The Authorization header carries no live token. Unknown, revoked and expired are not told apart."""


class CsrfFailed(Exception):
    """A session sent a changing request without its CSRF token."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in person, by session (token None) or by token."""

    user: User
    token: ApiToken | None = None

    def may(self, scope: str) -> bool:
        """A session may all that its person may; a token only what its scopes say."""
        return self.token is None or scope in self.token.scopes


def token_from_header(header: str) -> ApiToken | None:
    """The live token of `Authorization: Bearer msh_...`, with its user; None when the header is of another kind."""
    parts = header.split()
    if not parts or parts[0].lower() != "bearer":
        return None
    if len(parts) != 2:
        raise BadToken("The Authorization header must be: Bearer <token>.")
    token = ApiToken.objects.live().select_related("user").filter(digest=ApiToken.digest_of(parts[1]), user__is_active=True).first()
    if token is None:
        raise BadToken("This token is unknown, revoked or expired. Make a new one under Settings > API tokens.")
    now = timezone.now()
    if token.last_used is None or now - token.last_used > TOUCH_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used=now)
    return token


def caller_of(request: HttpRequest) -> Caller | None:
    """None = nobody. Raises BadToken, or CsrfFailed when a session changes something without its CSRF token.

    The view itself is exempt from the middleware's check, since a token, which no browser sends by itself, needs none.
    """
    token = token_from_header(request.headers.get("Authorization", ""))
    if token is not None:
        return Caller(token.user, token)
    if not request.user.is_authenticated:
        return None
    check = _SessionCsrf(_answer)
    check.process_request(request)
    if reason := check.process_view(request, _answer, (), {}):
        raise CsrfFailed(str(reason))
    return Caller(request.user)


def _answer(request: HttpRequest) -> HttpResponse:
    """The view that the check wants to stand before."""
    return HttpResponse()


class _SessionCsrf(CsrfViewMiddleware):
    """Tells the reason instead of rendering a page."""

    def _reject(self, request: HttpRequest, reason: str) -> str:
        return reason
