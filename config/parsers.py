"""The parser of every API view. REST framework's views import it while they are made, so that it can not stand beside what imports them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import exceptions, parsers

from gpuworker.core.texts import MAX_NESTING, nests_deeper


class JSONParser(parsers.JSONParser):
    """REST framework's parser, which lets Python's recursion limit through as a defect of ours."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        try:
            document = super().parse(stream, media_type, parser_context)
        except RecursionError as error:
            raise self._too_deep() from error
        if nests_deeper(document):
            raise self._too_deep()
        return document

    @staticmethod
    def _too_deep() -> exceptions.ParseError:
        return exceptions.ParseError(
            f"The body has more than {MAX_NESTING} lists and objects within each other. Close each one where it ends; see /api/docs/."
        )
