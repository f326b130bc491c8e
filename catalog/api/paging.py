"""The list of models paged by keyset, as on the pages: stable for every order, also with ties."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from catalog.paging import Page, page_of, parse_sort
from jobs.models import Device


def chosen_device(request: Request) -> Device | None:
    """The measured device that `device` names; None where it is left out."""
    name = request.query_params.get("device", "")
    try:
        return device_named(name) if name else None
    except serializers.ValidationError as error:
        raise serializers.ValidationError({"device": error.detail}) from error


def device_named(name: str) -> Device:
    """A measured device. Raises ValidationError with the names there are."""
    found = Device.objects.measured().filter(name=name.replace("\0", "")).first()
    if found is None:
        known = ", ".join(Device.objects.measured().values_list("name", flat=True)) or "none"
        raise serializers.ValidationError(f"Nothing is predicted for this device. Measured are: {known}.")
    return found


class Keyset(BasePagination):
    """`sort`, `page_size`, and the cursor in `after` or `before`. A cursor of another order is an error."""

    page_size = 50
    max_page_size = 200

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        device = chosen_device(request)
        searching = bool(request.query_params.get("q", "").strip())
        sort = parse_sort(request.query_params.get("sort", ""), searching=searching, device=device.pk if device else None)
        self.request = request
        self.page: Page = page_of(
            queryset.on_device(device) if device else queryset,
            sort,
            after=request.query_params.get("after", ""),
            before=request.query_params.get("before", ""),
            size=self._size(request),
        )
        return self.page.rows

    def _size(self, request: Request) -> int:
        text = request.query_params.get("page_size", "")
        if not text:
            return self.page_size
        if not text.isdecimal() or not 1 <= int(text[:6]) <= self.max_page_size:
            raise serializers.ValidationError({"page_size": [f"Between 1 and {self.max_page_size}."]})
        return int(text)

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self._link("after", self.page.after), "previous": self._link("before", self.page.before), "results": data})

    def _link(self, name: str, cursor: str) -> str | None:
        if not cursor:
            return None
        query = self.request.query_params.copy()
        for key in ("after", "before"):
            query.pop(key, None)
        query[name] = cursor
        return self.request.build_absolute_uri(f"{self.request.path}?{query.urlencode()}")

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "nullable": True, "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        def parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
            return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}

        return [
            parameter("after", "Cursor from `next`.", {"type": "string"}),
            parameter("before", "Cursor from `previous`.", {"type": "string"}),
            parameter("page_size", "Rows of a page.", {"type": "integer", "minimum": 1, "maximum": self.max_page_size}),
        ]
