"""Exports: the figures of the board, honest gaps, and nothing a spreadsheet would run."""

from __future__ import annotations

import csv
import io

from accounts.models import User
from catalog.models import ModelVersion
from search.exports import board_csv, board_document
from search.models import SampleSet, Search
from tests.search.factories import fail, make_search, run


def table(search: Search) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(board_csv(board_document(search)))))


def test_the_figures_of_the_board(finished: Search) -> None:
    first, second, third = table(finished)
    assert (first["model"], first["position"], first["predicted_accuracy"], first["grade"]) == (
        "vision/animals-large",
        "1",
        "0.9",
        "predicted",
    )
    assert [row["rank_from"] for row in (first, second, third)] == ["1", "2", "3"]
    assert first["jsd_hist (prior)"] == "0.1"
    assert first["dawid_skene (predicted)"] == "0.9"


def test_gaps_are_empty_and_never_zero(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = run(make_search(alice, samples, versions), accuracies=(0.9, None))
    fail(search.candidates.order_by("position")[0])
    failed, unknown, queued = table(search)
    for row in (failed, unknown, queued):
        assert (row["predicted_accuracy"], row["low"], row["p_best"], row["rank_from"]) == ("", "", "", "")
    assert unknown["why"] == "Its label sets do not match."
    assert (failed["error"], queued["grade"]) == ("The model gave NaN on your samples. In 3 of 60 rows.", "prior")


def test_formulas_are_defused(finished: Search) -> None:
    model = finished.candidates.order_by("position")[0].version.model
    for title in ("=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\tx"):
        model.title = title
        model.save()
        assert table(finished)[0]["title"] == f"'{title}"
    model.title = 'plain, "quoted"'
    model.save()
    assert table(finished)[0]["title"] == 'plain, "quoted"'


def test_the_document_survives_json(finished: Search) -> None:
    document = board_document(finished)
    assert document["format"] == "modelshop.board/1"
    assert [row["position"] for row in document["candidates"]] == [1, 2, 3]
    assert document["excluded"][0]["count"] == 2
