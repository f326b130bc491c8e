"""What the OpenAPI schema says of every operation alike: errors are problem details (RFC 9457)."""

from __future__ import annotations

from typing import Any

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def errors_are_problems(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Post-processing hook of drf-spectacular: named 4xx answers get the media type of problems, unnamed ones are declared."""
    for methods in result["paths"].values():
        for operation in methods.values():
            responses = operation["responses"]
            for status, response in responses.items():
                if status.startswith("4"):
                    response["content"] = PROBLEM
            responses["4XX"] = {"content": PROBLEM, "description": "Refused: not signed in, no right, no such thing, or not valid."}
    return result
