"""What a search predicts: chosen on the page or over the API, checked against the labels, told on the board."""

from __future__ import annotations

from typing import Any

import pytest
from django.template.loader import render_to_string
from django.test import Client

from accounts.models import User
from catalog.models import ModelVersion
from gpuworker.core.metrics import ACCURACY, Metric
from search.board import header_context
from search.metrics import calibration_key, metric_document, metric_name, metric_of, predicted_name
from search.models import SampleSet, Search
from search.plots.board import board_plots
from search.rows import board_columns
from search.services import CannotSearch, search_rerun, search_start
from tests.conftest import api_for, client_for
from tests.search.factories import LABELS, make_search

COSTS = {"kind": "cost", "labels": ["horse", "CAT", "dog"], "costs": [[0, 1, 2], [3, 0, 4], [5, 6, 0]]}


@pytest.fixture
def browser(alice: User) -> Client:
    return client_for(alice)


@pytest.mark.parametrize(("stored", "expected", "name", "key"), [
    ({}, ACCURACY, "accuracy", "accuracy"),
    ({"kind": "macro_f1"}, Metric("macro_f1"), "macro F1", "macro_f1"),
    ({"kind": "f1", "label": " Dog"}, Metric("f1", label=1), "F1 of  Dog", "f1:dog"),
    (COSTS, Metric("cost", costs=((0, 4, 3), (6, 0, 5), (1, 2, 0))), "saved cost", "cost:d2d6fff9"),
], ids=["accuracy", "macro", "f1", "cost"])  # fmt: skip
def test_stored_by_name_read_in_the_order_of_the_search(stored: dict[str, Any], expected: Metric, name: str, key: str) -> None:
    assert metric_of(stored, LABELS) == expected
    assert metric_of(metric_document(stored, LABELS), LABELS) == expected
    assert metric_name(stored) == name and calibration_key(stored) == key


def test_a_cost_matrix_has_one_table_however_its_labels_are_ordered() -> None:
    turned = {"kind": "cost", "labels": ["dog", "horse", "cat"], "costs": [[0, 5, 6], [2, 0, 1], [4, 3, 0]]}
    assert calibration_key(turned) == calibration_key(COSTS)
    assert calibration_key(COSTS | {"costs": [[0, 1, 2], [3, 0, 4], [5, 7, 0]]}) != calibration_key(COSTS)


@pytest.mark.parametrize("stored", [
    {"kind": "recall"},
    {"kind": "f1"},
    {"kind": "f1", "label": "cow"},
    {"kind": "cost"},
    COSTS | {"labels": ["cat", "dog"]},
    COSTS | {"labels": ["cat", "dog", "dog"]},
    COSTS | {"costs": [[0, 1], [1, 0]]},
    COSTS | {"costs": [[0, 0, 0]] * 3},
    COSTS | {"costs": [[0, -1, 0], [1, 0, 1], [1, 1, 0]]},
])  # fmt: skip
def test_what_does_not_fit_the_labels_is_refused(
    stored: dict[str, Any], alice: User, samples: SampleSet, versions: list[ModelVersion]
) -> None:
    with pytest.raises(ValueError):
        metric_of(stored, LABELS)
    with pytest.raises(CannotSearch, match="metric"):
        search_start(owner=alice, sample_set=samples, metric=stored)
    answer = api_for(alice).post("/api/searches/", {"sample_set": samples.pk, "metric": stored}, format="json")
    assert answer.status_code in (400, 422) and not Search.objects.exists()


def test_over_the_api_and_again(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    question = {"sample_set": samples.pk, "metric": COSTS, "drop_level": None}
    made = api_for(alice).post("/api/searches/", question, format="json").json()
    assert made["metric"] == COSTS and made["drop_level"] is None
    search = Search.objects.get(pk=made["id"])
    again = search_rerun(search=search, actor=alice)
    assert (again.metric, again.drop_level) == (COSTS, None)
    usual = api_for(alice).post("/api/searches/", {"sample_set": samples.pk}, format="json").json()
    assert usual["metric"] == {"kind": "accuracy"} and usual["drop_level"] == 0.02


def test_on_the_page(browser: Client, samples: SampleSet, versions: list[ModelVersion]) -> None:
    form = {"samples": samples.pk, "metric": "f1", "metric_label": "Dog", "drop": "0.005"}
    refused = browser.post("/searches/new/", form | {"metric_label": "cow"})
    assert refused.status_code == 422 and "Name one of the labels: cat, dog, horse." in refused.content.decode()
    assert browser.post("/searches/new/", form).status_code == 302
    search = Search.objects.get()
    assert (search.metric, search.drop_level) == ({"kind": "f1", "label": "Dog"}, 0.005)
    assert browser.post("/searches/new/", {"samples": samples.pk, "drop": "never"}).status_code == 302
    search = Search.objects.order_by("pk").last()
    assert (search.metric, search.drop_level) == ({}, None)


def test_the_address_holds_what_was_changed(browser: Client, samples: SampleSet, versions: list[ModelVersion]) -> None:
    form = {"samples": samples.pk, "metric": "macro_f1", "drop": "0.02"}
    address = browser.post("/searches/new/count/", form)["HX-Replace-Url"]
    assert "metric=macro_f1" in address and "drop" not in address
    assert 'value="macro_f1" selected' in browser.get(address).content.decode()


def test_board_and_header_name_what_is_predicted(browser: Client, alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = make_search(alice, samples, versions, metric={"kind": "f1", "label": "dog"})
    assert next(column.label for column in board_columns(search) if column.key == "predicted") == "Predicted F1 of dog"
    assert [plot.title for plot in board_plots(search)][:2] == [
        "Predicted F1 of dog of all candidates",
        "Predicted F1 of dog against latency",
    ]
    search.probes = {"why": "Nobody has given any."}
    assert predicted_name(search) == "accuracy"
    header = render_to_string("search/_board_header.html", header_context(search))
    assert "Without probes only accuracy can be predicted, not F1 of dog." in header
    search.verdict = {"metric": "F1 of dog", "sentence": "x"}
    assert predicted_name(search) == "F1 of dog"
    assert "F1 of dog" in browser.get(search.get_absolute_url()).content.decode()
