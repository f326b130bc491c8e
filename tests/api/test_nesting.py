"""JSON that nests without end, at every address that takes a body: refused in words, whatever Python's own limit is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drf_spectacular.generators import SchemaGenerator

from catalog.models import ModelVersion, VersionState
from gpuworker.core.texts import MAX_NESTING, nests_deeper
from tests.api.conftest import World
from tests.conftest import api_for, client_for

TAKES_A_BODY = [
    (method, path)
    for path, methods in SchemaGenerator().get_schema(public=True)["paths"].items()
    for method, operation in methods.items()
    if "requestBody" in operation
]


def lists(levels: int) -> str:
    return "[" * levels + "]" * levels


def objects(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path"), TAKES_A_BODY, ids=lambda value: value)
def test_every_address_refuses_it_in_words(world: World, method: str, path: str) -> None:
    client = api_for(world.owner)
    address = path.format(**world.parameters(path)) if "{" in path else path
    if path.endswith("/reviews/"):
        ModelVersion.objects.update(state=VersionState.IN_REVIEW)
    # 989: what Python 3.11 just parses, and then fails to show. An end that never comes is no other case.
    for body in ("[" * 100_000, lists(100_000), objects(100_000), lists(989), objects(MAX_NESTING + 1)):
        answer = client.generic(method, address, body, "application/json")
        assert answer.status_code == 400, (body[:10], len(body), answer.content)
        assert answer["Content-Type"] == "application/problem+json"
        assert f"{MAX_NESTING} lists and objects within each other" in answer.json()["detail"]


def test_there_are_such_addresses() -> None:
    assert len(TAKES_A_BODY) >= 15 and ("post", "/api/models/{team}/{name}/versions/") in TAKES_A_BODY


@pytest.mark.django_db
def test_what_nests_as_deep_as_allowed_reaches_the_view(world: World) -> None:
    body = '{"name":' + lists(MAX_NESTING - 1) + "}"
    answer = api_for(world.owner).generic("POST", "/api/models/", body, "application/json")
    assert answer.status_code == 400 and "name" in answer.json()["errors"]


@pytest.mark.django_db
@pytest.mark.parametrize("field", ["spec", "reference_options"])
def test_the_pages_of_publishing_refuse_it_too(world: World, field: str) -> None:
    for text in (lists(100_000), objects(100_000), objects(989), objects(MAX_NESTING + 2)):
        data = {"spec_by": "json", "modality": "image", "choice": "signature_only", "spec": "{}", field: text}
        page = client_for(world.owner).post("/models/vision/animals-large/versions/new/", data)
        words = page.content.decode()
        assert page.status_code == 422 and any(said in words for said in ("not JSON", "must be a JSON object", "nests deeper")), text[:9]


@pytest.mark.parametrize("nest", [lists, objects])
def test_levels_are_counted_exactly(nest: Callable[[int], str]) -> None:
    deep: object = 1
    for levels in range(1, 6):
        deep = [deep, "x"] if nest is lists else {"a": "x", "b": deep}
        assert not nests_deeper(deep, levels) and nests_deeper(deep, levels - 1)
    assert not nests_deeper("[[[[", 0)
