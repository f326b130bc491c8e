"""Answers where no view answers: pages in the product's look, problem details (RFC 9457) under /api/."""

from __future__ import annotations

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

PROBLEMS = {
    HTTPStatus.BAD_REQUEST: ("bad_request", "The request cannot be read.", "Check the address, the headers and the body."),
    HTTPStatus.FORBIDDEN: ("permission_denied", "You may not do this.", "Ask an admin of the team for the role that it needs."),
    HTTPStatus.NOT_FOUND: ("not_found", "Nothing is at this address.", "The addresses of the API stand in /api/docs/."),
    HTTPStatus.INTERNAL_SERVER_ERROR: (
        "error",
        "Something broke on our side.",
        "Try again; if it stays, tell the operator when it happened.",
    ),
}


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _problem(HTTPStatus.BAD_REQUEST) if _is_api(request) else defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _problem(HTTPStatus.FORBIDDEN) if _is_api(request) else defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _problem(HTTPStatus.NOT_FOUND) if _is_api(request) else defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR) if _is_api(request) else defaults.server_error(request)


def _is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")


def _problem(status: HTTPStatus) -> JsonResponse:
    code, title, fix = PROBLEMS[status]
    body = {"type": f"urn:modelshop:{code}", "title": title, "status": int(status), "detail": "", "fix": fix}
    return JsonResponse(body, status=status, content_type="application/problem+json")
