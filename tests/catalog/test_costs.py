"""Predictions for devices in the catalog: the list, the model's page, the API, and who may see them."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Team, User
from catalog import services
from catalog.cost_models import VersionCost, VersionWork
from catalog.facts import CheckedWork, PredictedCost
from catalog.models import RegisteredModel, VersionState
from jobs.models import Device
from tests.catalog.makers import give_cost, measured_device, published_row
from tests.conftest import api_for, client_for

pytestmark = pytest.mark.django_db

# Measured at publication, and predicted on the board and on the GPU: three orders that differ.
FIGURES = {"alpha": (1.0, 30.0, 3.0), "beta": (2.0, 10.0, 2.0), "gamma": (3.0, 20.0, 1.0), "delta": (4.0, None, None)}


@pytest.fixture
def board(db: None) -> Device:
    return measured_device("A small board & more, 1 thread")


@pytest.fixture
def gpu(db: None) -> Device:
    return measured_device("GPU")


@pytest.fixture
def shop(team: Team, alice: User, board: Device, gpu: Device) -> dict[str, RegisteredModel]:
    made = {}
    for name, (measured, *predicted) in FIGURES.items():
        model = made[name] = published_row(team, alice, name, latency_ms=measured, memory_bytes=int(1e6 * measured))
        for device, ms in zip((board, gpu), predicted, strict=True):
            if ms is not None:
                give_cost(model.published_version, device, ms, memory=int(1e6 * ms))
    return made


def names(user: User, query: str) -> list[str]:
    response = api_for(user).get(f"/api/models/?{query}")
    assert response.status_code == 200, response.content
    return [row["name"] for row in response.json()["results"]]


@pytest.mark.parametrize("key", ["latency", "memory"])
@pytest.mark.parametrize(
    ("device", "order"),
    [("", "alpha beta gamma delta"), ("A small board & more, 1 thread", "beta gamma alpha delta"), ("GPU", "gamma beta alpha delta")],
    ids=["as measured", "board", "gpu"],
)
def test_a_device_has_its_own_order_and_what_is_not_predicted_comes_last(
    shop: dict[str, RegisteredModel], alice: User, key: str, device: str, order: str
) -> None:
    wanted = order.split()
    asked = f"device={quote(device)}&" if device else ""
    assert names(alice, f"{asked}sort={key}") == wanted
    down = names(alice, f"{asked}sort=-{key}")
    assert down == (wanted[::-1] if not device else [*wanted[2::-1], "delta"])
    first = api_for(alice).get(f"/api/models/?{asked}sort={key}&page_size=2").json()
    second = api_for(alice).get(first["next"]).json()
    assert [row["name"] for row in first["results"] + second["results"]] == wanted


def test_a_cursor_of_one_device_is_not_one_of_another(shop: dict[str, RegisteredModel], alice: User) -> None:
    first = api_for(alice).get("/api/models/?device=GPU&sort=latency&page_size=2").json()
    cursor = first["next"].split("after=")[1].split("&")[0]
    assert api_for(alice).get(f"/api/models/?sort=latency&after={cursor}").status_code == 422


def test_the_api_gives_predictions_for_the_device_that_was_asked_for(shop: dict[str, RegisteredModel], alice: User) -> None:
    rows = {row["name"]: row for row in api_for(alice).get("/api/models/?device=GPU").json()["results"]}
    assert rows["alpha"]["predicted"] == {"latency_ms": 3.0, "low_ms": 1.5, "high_ms": 6.0, "memory_bytes": 3_000_000}
    assert rows["delta"]["predicted"] is None
    assert rows["alpha"]["latency_ms"] == 1.0, "what was measured stays what was measured"
    assert all(row["predicted"] is None for row in api_for(alice).get("/api/models/").json()["results"])
    assert api_for(alice).get("/api/models/vision/alpha/").json()["predicted"] is None


@pytest.mark.parametrize("device", ["Abacus", "never measured", "%00"])
def test_the_api_refuses_a_device_without_predictions(shop: dict[str, RegisteredModel], alice: User, device: str) -> None:
    Device.objects.create(name="never measured")
    response = api_for(alice).get(f"/api/models/?device={device}")
    assert response.status_code == 400
    assert "GPU" in response.json()["errors"]["device"][0]


def test_a_version_lists_all_devices(shop: dict[str, RegisteredModel], alice: User) -> None:
    costs = api_for(alice).get("/api/models/vision/alpha/versions/1/").json()["costs"]
    assert [(cost["device"], cost["latency_ms"], cost["batch_ms"]) for cost in costs] == [
        ("A small board & more, 1 thread", 30.0, 7.5),
        ("GPU", 3.0, 0.75),
    ]
    assert api_for(alice).get("/api/models/vision/delta/versions/1/").json()["costs"] == []


def test_the_list_shows_the_chosen_device_and_keeps_it(shop: dict[str, RegisteredModel], alice: User) -> None:
    browser = client_for(alice)
    plain = browser.get("/models/").content.decode()
    assert "As measured at publication" in plain and "1 ms" in plain and "Memory</a>" not in plain
    page = browser.get("/models/?device=GPU&sort=latency&task=animals").content.decode()
    assert page.index("vision/gamma") < page.index("vision/beta") < page.index("vision/alpha") < page.index("vision/delta")
    assert "Predicted; in nine of ten cases it is 0.5–2 ms" in page
    assert "Nothing is predicted for this model there" in page
    assert "3\xa0MB" in page and "Memory</a>" in page
    assert 'name="device" value="GPU"' in page, "a search by words keeps it"
    for href in ("sort=-latency&amp;device=GPU", "task=animals&amp;sort=latency&amp;device=GPU", "view=cards&amp;device=GPU"):
        assert href in page, href
    assert 'href="?task=animals&amp;sort=latency"' in page, "and it can be left"
    cards = browser.get("/models/?device=GPU&view=cards").content.decode()
    assert "1.5–6 ms" in cards and "device=GPU" in cards
    assert "device=" not in browser.get("/models/?device=Abacus").content.decode().split("<main")[1].split("device-menu")[0]


def test_without_a_measured_device_the_list_is_as_before(team: Team, alice: User) -> None:
    Device.objects.create(name="never measured")
    published_row(team, alice, "alpha", latency_ms=1.0)
    page = client_for(alice).get("/models/?device=never+measured").content.decode()
    assert "device-menu" not in page and "never measured" not in page
    VersionWork.objects.create(version=RegisteredModel.objects.get().published_version, analysis=1, error="It is a riddle.")
    assert "riddle" not in client_for(alice).get("/models/vision/alpha/").content.decode()


def test_the_models_page_compares_devices(shop: dict[str, RegisteredModel], alice: User) -> None:
    page = client_for(alice).get("/models/vision/alpha/").content.decode()
    assert "Time and memory" in page and "A small board &amp; more, 1 thread" in page
    for told in ("15–60 ms", "0.75 ms", "3.8–15 ms", "30\xa0MB", "60\xa0MB", "a small batch"):
        assert told in page, told
    VersionWork.objects.create(version=shop["delta"].published_version, analysis=1, error="It is a riddle.")
    assert "Nothing is predicted for it: It is a riddle." in client_for(alice).get("/models/vision/delta/").content.decode()


def test_predictions_of_what_one_may_not_see_stay_unseen(shop: dict[str, RegisteredModel], charlie: User) -> None:
    assert names(charlie, "device=GPU&sort=latency") == []
    assert api_for(charlie).get("/api/models/vision/alpha/versions/1/").status_code == 404
    page = client_for(charlie).get("/models/?device=GPU")
    assert b"vision/alpha" not in page.content


def test_a_version_that_is_not_published_has_no_place_in_the_list(shop: dict[str, RegisteredModel], alice: User, gpu: Device) -> None:
    model = shop["delta"]
    newer = model.versions.create(number=2, state=VersionState.READY, created_by=alice, format="onnx")
    give_cost(newer, gpu, 0.01)
    assert names(alice, "device=GPU&sort=latency")[-1] == "delta"


def test_queries_do_not_grow_with_rows_or_devices(shop: dict[str, RegisteredModel], team: Team, alice: User, gpu: Device) -> None:
    def count(url: str) -> int:
        browser = client_for(alice)
        browser.get(url)
        with CaptureQueriesContext(connection) as captured:
            assert browser.get(url).status_code == 200
        assert not [query["sql"] for query in captured if '"jobs_device"."cost"' in query["sql"]], "cost models are large"
        assert not [query["sql"] for query in captured if '"catalog_versionwork"."document"' in query["sql"]], "and so are works"
        return len(captured)

    urls = ("/models/?device=GPU&sort=latency", "/models/vision/alpha/", "/api/models/vision/alpha/versions/1/")
    before = [count(url) for url in urls]
    for number in range(12):
        model = published_row(team, alice, f"more-{number}")
        give_cost(model.published_version, gpu, 5.0)
        give_cost(shop["alpha"].published_version, measured_device(f"Device {number}"), 6.0)
    assert [count(url) for url in urls] == before
    assert before[0] == count("/models/") and before[0] <= 8


def test_predictions_are_written_in_one_query_and_replace_earlier_ones(shop: dict[str, RegisteredModel], gpu: Device) -> None:
    costs = [
        PredictedCost(model.published_version_id, gpu.pk, (9.0, 8.0, 10.0), (1.0, 0.5, 2.0), 5, 6)
        for model in shop.values()
        if model.published_version_id
    ]
    with CaptureQueriesContext(connection) as captured:
        services.costs_write(costs=costs)
    assert sum("INSERT" in query["sql"] for query in captured) == 1
    rows = VersionCost.objects.filter(device=gpu)
    assert set(rows.values_list("latency_ms", "low_ms", "high_ms", "batch_ms", "batch_low_ms", "batch_high_ms")) == {
        (9.0, 8.0, 10.0, 1.0, 0.5, 2.0)
    }
    assert rows.count() == 4 and set(rows.values_list("memory_bytes", "batch_memory_bytes")) == {(5, 6)}


def test_another_analysis_takes_the_predictions_of_the_earlier_one_away(shop: dict[str, RegisteredModel]) -> None:
    version = shop["alpha"].published_version
    assert version is not None and version.costs.count() == 2
    services.version_work_apply(version_id=version.pk, work=CheckedWork(2, error="x" * 400))
    assert not version.costs.exists()
    assert (version.work.analysis, version.work.document, len(version.work.error)) == (2, None, 300)
