"""What the search views share: the person behind a request, partial or page, and errors a person can mend."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache

from accounts.models import User
from gpuworker.core.errors import UserError

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def signed_in(view: View[P]) -> View[P]:
    """Pages of one person: sign-in first, and no shared cache ever keeps them."""
    return login_required(never_cache(view))


def person(request: HttpRequest) -> User:
    """The signed-in person; a view behind `signed_in` always has one."""
    assert isinstance(request.user, User)
    return request.user


def is_partial(request: HttpRequest) -> bool:
    """Whether a script asks for a piece of a page (htmx, or the drawer's fetch)."""
    return request.headers.get("HX-Request") == "true" or request.headers.get("X-Requested-With") == "fetch"


def tell(request: HttpRequest, error: UserError) -> None:
    """Show an error on the next page: what happened, where, and what to do."""
    messages.error(request, error.text)


def mended(view: View[P]) -> View[P]:
    """For POST views: a UserError becomes a message on the page the person came from."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except UserError as error:
            tell(request, error)
            return redirect(_back(request))

    return cast(View[P], wrapped)


def _back(request: HttpRequest) -> str:
    """The page the form stood on, if it is one of ours."""
    referer = request.headers.get("Referer", "")
    if referer and url_has_allowed_host_and_scheme(referer, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        return referer
    return reverse("search:search_list")
