from __future__ import annotations

import difflib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuworker.core.compatibility import compatible
from gpuworker.core.errors import Incompatible, UnreadableSamples
from gpuworker.core.modalities import pair
from gpuworker.core.modalities.batches import strings
from gpuworker.core.modalities.options import ReadOptions
from gpuworker.core.modalities.similarity import attribute_similarity, edit_and_prefix, record_similarity, trigram_jaccard
from gpuworker.core.protocols import ReadResult, SourceFile

from .build import parquet, real, reasons, source, spec_input

CSV = (
    "left_name,right_name,left_price,right_price,label,note\n"
    "Canon EOS 5D,canon eos-5d,$100,80,1,x\n"
    "Nikon,,5,,0,x\n"
    "Sony A7,Olympus,,20,0,x\n"
)


def read(*files: SourceFile, **options: object) -> ReadResult:
    return pair.read(files, ReadOptions(**options))  # type: ignore[arg-type]


def test_columns_are_paired_and_half_empty_pairs_named() -> None:
    result = read(source("a.csv", CSV), label_column="label")
    assert result.batch.meta == {"modality": "pair", "attributes": ["name", "price"]}
    assert strings(result.batch, "left.0") == ["Canon EOS 5D", "Sony A7"] and strings(result.batch, "right.1") == ["80", "20"]
    assert reasons(result) == [("a.csv", 2, "Its right record is empty.")]
    assert result.labels is not None and result.labels.tolist() == [1, 0]


def test_parquet_and_chosen_columns() -> None:
    columns = {"left_a": ["x"], "right_a": ["y"], "left_b": [3.0], "right_b": [None]}
    assert read(source("a.parquet", parquet(columns))).batch.meta["attributes"] == ["a", "b"]
    only = read(source("a.parquet", parquet(columns)), columns=("left_a", "right_a"))
    assert only.batch.meta["attributes"] == ["a"]
    assert strings(read(source("a.parquet", parquet(columns))).batch, "left.1") == ["3"]


def test_tables_without_two_sides_are_refused() -> None:
    with pytest.raises(UnreadableSamples, match="No attribute stands on both sides"):
        read(source("a.csv", "left_a,right_b\n1,2\n"))


def test_attribute_similarity_by_hand() -> None:
    found = attribute_similarity(["Canon EOS 5D", "$1,000", "", "", "same", "0"], ["canon  eos", "800", "x", "", "SAME", "0"])
    np.testing.assert_allclose(found[0], [2 / 3, 1, 7 / 10, 9 / 12, 9 / 12, 0, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found[1, 5:8], [0, 0.8, 1], atol=1e-6)
    assert found[2].tolist() == [0] * 8 + [1, 0]
    assert found[3].tolist() == [0] * 8 + [0, 1]
    assert found[4].tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    assert found[5, 5:8].tolist() == [1, 1, 1]


def levenshtein(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row = row, [i] + [0] * len(b)
        for j, y in enumerate(b, 1):
            row[j] = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (x != y))
    return row[-1]


WORDS = st.text("abcä ", max_size=12)


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6))
def test_edit_prefix_and_trigrams_agree_with_their_definitions(pairs: list[tuple[str, str]]) -> None:
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    edit, prefix = edit_and_prefix(left, right)
    grams = trigram_jaccard(left, right)
    for i, (a, b) in enumerate(pairs):
        longer = max(len(a), len(b))
        assert edit[i] == pytest.approx(1 - levenshtein(a, b) / longer if longer else 0)
        common = difflib.SequenceMatcher(None, a, b, autojunk=False).find_longest_match(0, len(a), 0, len(b))
        expected = (
            common.size
            if common.a == common.b == 0
            else next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        )
        assert prefix[i] == pytest.approx(expected / longer if longer else 0)
        x, y = ({text.encode()[k : k + 3] for k in range(len(text.encode()) - 2)} for text in (a, b))
        assert grams[i] == pytest.approx(len(x & y) / len(x | y) if x | y else 0)


def test_record_similarity_by_hand() -> None:
    # Attributes in order of name: brand, title.
    found = record_similarity([["canon", ""], ["eos 5d mark", "a"]], [["canon", "b"], ["eos 5d", "a"]])
    np.testing.assert_allclose(found[0, [0, 1, 3, 4, 5, 6, 7]], [3 / 4, 1, 1, 1, 1 / 2, 1, 3 / 4], atol=1e-6)
    np.testing.assert_allclose(found[1, [0, 1, 3, 4, 5, 6, 7]], [1 / 2, 1, 0, 0, 1, 1, 1 / 2], atol=1e-6)


def test_encode_kinds() -> None:
    batch = read(source("a.csv", CSV)).batch
    similar = pair.encode(batch, 0, 2, spec_input("pair", kind="similarity", attributes=["price", "Name"]), ["x"])["x"]
    assert similar.shape == (2, 20) and similar.dtype == np.float32
    np.testing.assert_allclose(similar[0, 6:8], [0.8, 1], atol=1e-6)
    assert similar[1, :10].tolist() == [0] * 8 + [1, 0]
    np.testing.assert_allclose(similar[0, 10:12], [1, 1])
    record = pair.encode(batch, 1, 2, spec_input("pair", kind="record_similarity", features=8), ["x"])["x"]
    assert record.shape == (1, 8) and record[0, 0] == 0


def test_hashed_pair_is_left_right_difference_and_product_of_counts() -> None:
    batch = read(source("a.csv", "left_t,right_t\nred red shoe,red hat\n")).batch
    found = pair.encode(batch, 0, 1, spec_input("pair", kind="hashed_pair", features=1024), ["x"])["x"]
    left, right, apart, both = np.split(found[0], 4)
    assert sorted(left[left > 0].tolist()) == [1, 2] and sorted(right[right > 0].tolist()) == [1, 1]
    assert apart.sum() == 3 and both.sum() == 2


def test_missing_attributes_are_told_before_and_while_encoding() -> None:
    batch = read(source("a.csv", CSV)).batch
    spec = spec_input("pair", kind="similarity", attributes=["brand"])
    assert "needs the attributes brand" in (compatible(batch.meta, spec, "pair") or "")
    with pytest.raises(Incompatible, match="they have name, price"):
        pair.encode(batch, 0, 1, spec, ["x"])
    assert compatible(batch.meta, spec_input("pair", kind="hashed_pair", features=8), "pair") is None
    assert "reads text samples" in (compatible(batch.meta, {}, "text") or "")


def test_features_words_preview_and_duplicates() -> None:
    rows = "left_b,right_b,left_a,right_a\nThe Red shoe,red shoe,5,5\nThe Red shoe,red shoe,5,5\nthe red  shoe,Red shoe!,5,5\nx,y,,3\n"
    result = read(source("a.csv", rows))
    assert (result.exact_duplicates, result.near_duplicates) == (1, 1)
    found = pair.features(result.batch)
    assert found.shape == (4, 85) and found.dtype == np.float32
    alone = pair.features(read(source("a.csv", "left_a,right_a,left_b,right_b\n,3,x,y\n")).batch)
    np.testing.assert_allclose(found[3:], alone, atol=1e-6)
    # Equal price, name with one word more: least 2/3, greatest 1 of the token Jaccard; both attributes filled.
    np.testing.assert_allclose(found[0, [8, 12, 16, 20]], [2 / 3, 5 / 6, 1, 1], atol=1e-6)
    assert found[3, 20] == 0.5
    np.testing.assert_allclose(np.linalg.norm(found[0, 21:]), 0.3 * np.sqrt(2), atol=0.15)
    assert pair.words(result.batch)[0] == ["red", "shoe", "5", "red", "shoe", "5"]
    assert pair.preview(result.batch, 3) == {
        "kind": "pair",
        "cells": [{"name": "b", "left": "x", "right": "y"}, {"name": "a", "left": "", "right": "3"}],
    }


def test_real_pairs_are_told_apart_by_their_similarity() -> None:
    result = read(real("em/dblp_acm.parquet"), label_column="label")
    assert result.batch.n == 12363 and list(result.label_names) == ["no_match", "match"] and not result.problems
    assert result.batch.meta["attributes"] == ["authors", "title", "venue", "year"]
    jaccard = pair.encode(result.batch, 0, 2_000, spec_input("pair", kind="record_similarity", features=8), ["x"])["x"][:, 0]
    assert result.labels is not None
    labels = result.labels[:2_000]
    assert jaccard[labels == 1].mean() > jaccard[labels == 0].mean() + 0.2
