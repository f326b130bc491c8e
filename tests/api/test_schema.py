"""The OpenAPI schema: complete, without warnings, and readable without the internet."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.generators import SchemaGenerator


def api_names(resolver: URLResolver) -> list[tuple[str, str]]:
    found = []
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            found += api_names(pattern)
        elif isinstance(pattern, URLPattern) and (pattern.name or "").startswith("api-"):
            found.append((str(pattern.name), str(pattern.pattern)))
    return found


def test_the_schema_is_made_without_a_warning_and_is_valid(tmp_path_factory: pytest.TempPathFactory) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path_factory.mktemp("schema") / "schema.yml"))


def test_every_route_stands_in_the_schema() -> None:
    paths = SchemaGenerator().get_schema(public=True)["paths"]
    shapes = {re.sub(r"\{\w+\}", "{}", path) for path in paths}
    for name, pattern in api_names(get_resolver()):
        assert "/api/" + re.sub(r"<[^>]+>", "{}", pattern) in shapes, name


def test_every_operation_says_who_may_call_it_and_how_it_refuses() -> None:
    for path, methods in SchemaGenerator().get_schema(public=True)["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["security"], where
            assert {} not in operation["security"], f"{where} may be called without signing in"
            assert set(operation["responses"]["4XX"]["content"]) == {"application/problem+json"}, where
            assert any(status.startswith("2") for status in operation["responses"]), where


class Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


@pytest.mark.django_db
def test_the_docs_page_loads_nothing_from_elsewhere() -> None:
    client = Client()
    page = client.get("/api/docs/")
    assert page.status_code == 200
    reader = Sources()
    reader.feed(page.content.decode())
    assert any("swagger-ui-bundle" in source for source in reader.found)
    assert all(source.startswith(("/", "data:")) and not source.startswith("//") for source in reader.found)
    assert "https://" not in page.content.decode().replace("https://localhost", "")
