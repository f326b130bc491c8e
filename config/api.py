"""What every API view shares: cursor paging and one error shape (RFC 9457 problem details)."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as DjangoValidationError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response
from rest_framework.views import exception_handler

from gpuworker.core.errors import UserError


class Cursor(CursorPagination):
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
    ordering = "-id"


def problem_details(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF exception handler. Body: type, title, status, detail, fix, and errors by field where there are any."""
    if isinstance(error, UserError):
        body = {"type": f"urn:modelshop:{error.code}", "title": error.title, "status": 422, "detail": error.detail, "fix": error.fix}
        return _problem(body, 422)
    if isinstance(error, DjangoValidationError):
        error = exceptions.ValidationError(error.message_dict if hasattr(error, "error_dict") else {"non_field_errors": error.messages})
    response = exception_handler(error, context)
    if response is None:
        return None
    if isinstance(error, Http404):
        error = exceptions.NotFound(str(error) or None)
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    assert isinstance(error, exceptions.APIException)
    body = {
        "type": f"urn:modelshop:{error.default_code}",
        "title": str(error.default_detail),
        "status": response.status_code,
        "detail": "",
        "fix": "",
    }
    if isinstance(error, exceptions.ValidationError):
        body["title"] = "Some fields are not valid."
        body["errors"] = response.data
    else:
        body["detail"] = str(error.detail)
    problem = _problem(body, response.status_code)
    for header, value in response.items():
        if header.lower() in ("www-authenticate", "retry-after", "allow"):
            problem[header] = value
    return problem


def _problem(body: dict[str, Any], status: int) -> Response:
    return Response(body, status=status, content_type="application/problem+json")
