from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from gpuworker.core.compatibility import compatible
from gpuworker.core.errors import Incompatible, UnreadableSamples
from gpuworker.core.modalities import table
from gpuworker.core.modalities.batches import strings
from gpuworker.core.modalities.options import DEFAULT_CAPS, Caps, ReadOptions
from gpuworker.core.modalities.records import as_number
from gpuworker.core.protocols import ReadResult, SourceFile

from .build import npz, parquet, reasons, source, spec_input

CSV = "id,age,city,label\n1,30,Oslo,yes\n2,,Rome,no\n3,41.5,,yes\n"
KINDS = [{"name": "age", "kind": "numeric"}, {"name": "city", "kind": "text"}]


def read(*files: SourceFile, caps: Caps = DEFAULT_CAPS, **options: object) -> ReadResult:
    return table.read(files, ReadOptions(**options), caps)  # type: ignore[arg-type]


COLUMNS_READ = {"id": [1, 2, 3], "age": [30, None, 41.5], "city": ["Oslo", "Rome", None], "label": ["yes", "no", "yes"]}
LINES_READ = [
    {"id": 1, "age": 30, "city": "Oslo", "label": "yes"},
    {"id": 2, "city": "Rome", "label": "no"},
    {"id": 3, "age": 41.5, "label": "yes"},
]


@pytest.mark.parametrize(
    "file",
    [
        source("a.csv", CSV),
        source("a.tsv", CSV.replace(",", "\t")),
        source("a.parquet", parquet(COLUMNS_READ)),
        source("a.jsonl", "\n".join(json.dumps(row) for row in LINES_READ)),
    ],
)
def test_every_format_gives_the_same_table(file: SourceFile) -> None:
    result = read(file, label_column="label")
    assert result.batch.meta["columns"] == KINDS
    np.testing.assert_array_equal(result.batch.arrays["numbers"], [[30], [np.nan], [41.5]])
    assert strings(result.batch, "text.0") == ["Oslo", "Rome", ""]
    assert result.labels is not None and result.labels.tolist() == [1, 0, 1] and list(result.label_names) == ["no", "yes"]


def test_answers_and_identifiers_are_inputs_only_when_named() -> None:
    assert [column["name"] for column in read(source("a.csv", CSV)).batch.meta["columns"]] == ["age", "city"]
    chosen = read(source("a.csv", CSV), columns=("id", "label"))
    assert [column["name"] for column in chosen.batch.meta["columns"]] == ["id", "label"]


def test_npz_tables() -> None:
    x = np.arange(6.0).reshape(3, 2)
    result = read(source("a.npz", npz(x=x, y=np.array([1, 0, 1]), column_names=["p", "q"], label_names=["no", "yes"])))
    np.testing.assert_array_equal(result.batch.arrays["numbers"], x)
    assert [column["name"] for column in result.batch.meta["columns"]] == ["p", "q"]
    assert result.labels is not None and result.labels.tolist() == [1, 0, 1] and list(result.label_names) == ["no", "yes"]
    assert [column["name"] for column in read(source("a.npz", npz(x=x))).batch.meta["columns"]] == ["x0", "x1"]
    for data, words in (
        (npz(x=np.zeros(3)), "wrong shape"),
        (npz(x=x, y=np.zeros(9)), "9 labels, 3 rows"),
        (npz(x=x, column_names=["p", "p"]), "1 different names"),
    ):
        with pytest.raises(UnreadableSamples, match=words):
            read(source("a.npz", data))


def test_bad_rows_are_named_and_skipped() -> None:
    rows = "a,b\n" + "".join(f"{i},{i}\n" for i in range(40)) + "oops,1\ninf,1\n,\n1_000,2\n"
    result = read(source("a.csv", rows))
    assert result.batch.n == 40
    assert sorted(reasons(result), key=lambda item: item[1] or 0) == [
        ("a.csv", 41, "'a' holds 'oops', expected a finite number."),
        ("a.csv", 42, "'a' holds 'inf', expected a finite number."),
        ("a.csv", 43, "All its cells are empty."),
        ("a.csv", 44, "'a' holds '1_000', expected a finite number."),
    ]


@pytest.mark.parametrize(("cell", "number"), [(" 1.5 ", 1.5), ("-2e3", -2000), (3, 3), (True, 1), ("", None), ("N/A", None), (None, None)])
def test_cells_as_numbers(cell: str | float | None, number: float | None) -> None:
    assert as_number(cell) == number or (number is None and np.isnan(as_number(cell)))


@pytest.mark.parametrize("cell", ["inf", float("-inf"), "1_0", "1,5", "3 kg"])
def test_cells_that_are_no_finite_numbers(cell: str | float) -> None:
    with pytest.raises(ValueError, match="number"):
        as_number(cell)


def test_files_are_put_under_each_other_and_caps_hold() -> None:
    result = read(source("a.csv", "p,q\n1,2\n"), source("b.csv", "q,r\n3,4\n"))
    np.testing.assert_array_equal(result.batch.arrays["numbers"], [[1, 2, np.nan], [np.nan, 3, 4]])
    assert read(source("a.csv", "p,q\n" + "1,2\n" * 50), caps=replace(DEFAULT_CAPS, cells=20)).batch.n == 10


def test_duplicates() -> None:
    result = read(source("a.csv", "a,b\n1.0,Red\n1,Red\n1.00001,red \n2,Red\n"))
    assert (result.exact_duplicates, result.near_duplicates) == (1, 1)


COLUMNS = [
    {"name": "AGE", "kind": "numeric", "mean": 40, "std": 10},
    {"name": "city", "kind": "category", "categories": ["Rome", "Oslo"]},
]


def test_encode_by_hand() -> None:
    batch = read(source("a.csv", CSV)).batch
    encoded = table.encode(batch, 0, 3, spec_input("table", columns=COLUMNS), ["x"])["x"]
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded, [[-1, 0, 1], [0, 1, 0], [0.15, 0, 0]], atol=1e-7)
    filled = [{**COLUMNS[0], "missing": 50}]
    assert table.encode(batch, 1, 2, spec_input("table", columns=filled), ["x"])["x"].tolist() == [[1]]
    plain = [{"name": "age", "kind": "numeric"}]
    assert table.encode(batch, 0, 2, spec_input("table", columns=plain), ["x"])["x"].tolist() == [[30], [0]]


def test_encode_reads_numbers_as_categories_and_texts_as_numbers() -> None:
    batch = read(source("a.csv", "floor,note\n3,12\n4,high\n"), columns=("floor", "note")).batch
    columns = [{"name": "floor", "kind": "category", "categories": ["3", "4"]}, {"name": "note", "kind": "numeric", "missing": -1}]
    assert table.encode(batch, 0, 2, spec_input("table", columns=columns), ["x"])["x"].tolist() == [[1, 0, 12], [0, 1, -1]]


def test_missing_columns_are_told_before_and_while_encoding() -> None:
    batch = read(source("a.csv", CSV)).batch
    spec = spec_input("table", columns=[{"name": "income", "kind": "numeric"}])
    assert "needs the columns income" in (compatible(batch.meta, spec, "table") or "")
    with pytest.raises(Incompatible, match="they have age, city"):
        table.encode(batch, 0, 1, spec, ["x"])
    assert compatible(batch.meta, spec_input("table", columns=COLUMNS), "table") is None


def test_features_values_and_preview() -> None:
    batch = read(source("a.csv", "b,a,c\n1,0,x\n,-2,y\n")).batch
    found = table.features(batch)
    assert found.shape == (2, 2 * 2 + 64)
    np.testing.assert_allclose(found[:, :4], [[0, np.arcsinh(1), 0, 0], [np.arcsinh(-2), 0, 0, 1]], atol=1e-6)
    assert np.abs(found[:, 4:]).sum(1).tolist() == [1, 1]
    swapped = table.features(read(source("a.csv", "a,c,b\n-2,y,\n0,x,1\n")).batch)
    np.testing.assert_array_equal(swapped[::-1], found)
    assert table.values(batch).tolist() == [[1, 0], [0, -2]]
    assert table.preview(batch, 1) == {
        "kind": "cells",
        "cells": [{"name": "b", "value": ""}, {"name": "a", "value": "-2"}, {"name": "c", "value": "y"}],
    }
