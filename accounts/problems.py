"""Problem details (RFC 9457) for plain Django views: the same shape as the REST API's."""

from __future__ import annotations

from django.http import JsonResponse

from gpuworker.core.errors import UserError


def problem(status: int, *, code: str, title: str, detail: str = "", fix: str = "") -> JsonResponse:
    body = {"type": f"urn:modelshop:{code}", "title": title, "status": status, "detail": detail, "fix": fix}
    return JsonResponse(body, status=status, content_type="application/problem+json")


def problem_of(error: UserError, *, status: int = 422) -> JsonResponse:
    return problem(status, code=error.code, title=error.title, detail=error.detail, fix=error.fix)


def unauthorized(detail: str) -> JsonResponse:
    response = problem(
        401, code="not_authenticated", title="Sign in first.", detail=detail, fix="Sign in, or send Authorization: Bearer <token>."
    )
    response["WWW-Authenticate"] = 'Bearer realm="modelshop"'
    return response
