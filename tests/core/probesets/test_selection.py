"""What a probe set takes of its slices: properties over made-up slices, and small cases worked out by hand."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gpuworker.core.probesets import selection
from gpuworker.core.probesets.selection import Chosen, SliceRows, common_rows, feature_layout, kept_rows, select, shares


def hashes(*rows: int) -> NDArray[np.uint8]:
    """Each number stands for one row of samples."""
    made = b"".join(hashlib.blake2b(str(row).encode(), digest_size=16).digest() for row in rows)
    return np.frombuffer(made, np.uint8).reshape(-1, 16)


def piece(key: int, rows: list[int], *, model: int | None = None, giver: int = 1, labels: list[int] | None = None) -> SliceRows:
    return SliceRows(key, key if model is None else model, giver, hashes(*rows), np.array(labels or [row % 3 for row in rows], np.int64))


slices = st.lists(
    st.builds(
        lambda rows, model, giver: (rows, model, giver),
        st.lists(st.integers(0, 60), min_size=1, max_size=30, unique=True),
        st.integers(0, 5),
        st.integers(0, 2),
    ),
    max_size=8,
).map(lambda found: [piece(key, rows, model=model, giver=giver) for key, (rows, model, giver) in enumerate(found)])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "MOST", 40)
    monkeypatch.setattr(selection, "MOST_OF_SOURCE", 15)


def taken(chosen: Chosen, given_: list[SliceRows]) -> list[bytes]:
    by_key = {item.key: item for item in given_}
    return [by_key[key].hashes[row].tobytes() for key, rows in chosen.rows.items() for row in rows]


@given(slices)
def test_no_row_twice_and_no_cap_passed(given_: list[SliceRows]) -> None:
    chosen = select(given_)
    found = taken(chosen, given_)
    assert len(found) == len(set(found)) == chosen.n <= 40
    per_source = Counter(chosen.sources[key] for key, rows in chosen.rows.items() for _ in rows)
    assert all(count <= 15 for count in per_source.values())
    assert chosen.used_sources == len(per_source)


@given(slices)
def test_everything_is_taken_when_there_is_room(given_: list[SliceRows]) -> None:
    chosen = select(given_)
    distinct = {row.tobytes() for item in given_ for row in item.hashes}
    per_source = Counter(chosen.sources[key] for key, rows in chosen.rows.items() for _ in rows)
    assert chosen.n == min(40, len(distinct)) or max(per_source.values()) == 15


@given(slices, st.randoms())
def test_the_order_of_slices_does_not_matter(given_: list[SliceRows], random: object) -> None:
    shuffled = list(given_)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = select(given_), select(shuffled)
    assert first.digest == second.digest and first.sources == second.sources
    assert {key: rows.tolist() for key, rows in first.rows.items()} == {key: rows.tolist() for key, rows in second.rows.items()}


@given(slices, slices)
def test_the_digest_changes_exactly_when_the_choice_does(one: list[SliceRows], other: list[SliceRows]) -> None:
    def choice(given_: list[SliceRows]) -> object:
        chosen, by_key = select(given_), {item.key: item for item in given_}
        groups: dict[int, set[tuple[bytes, int]]] = {}
        for key, rows in chosen.rows.items():
            for row in rows:
                groups.setdefault(chosen.sources[key], set()).add((by_key[key].hashes[row].tobytes(), int(by_key[key].labels[row])))
        return {frozenset(group) for group in groups.values()}

    assert (select(one).digest == select(other).digest) == (choice(one) == choice(other))


@given(slices)
def test_slices_that_add_nothing_change_nothing(given_: list[SliceRows]) -> None:
    for item in given_:
        if len(item.labels) and item.key in select(given_).rows:
            copy = SliceRows(100, item.origin, item.giver, item.hashes, item.labels)
            assert select([*given_, copy]).digest == select(given_).digest
    whole = select(given_)
    for item in (item for item in given_ if item.key not in whole.rows):
        rest = select([other for other in given_ if other is not item])
        # Without a row of its own it may still show that two others are of one source, which then share one cap.
        if kin(rest, list(rest.sources)) == kin(whole, list(rest.sources)):
            assert rest.n == whole.n


def kin(chosen: Chosen, keys: list[int]) -> set[frozenset[int]]:
    """Which of these slices come from one source."""
    return {frozenset(other for other in keys if chosen.sources[other] == chosen.sources[key]) for key in keys}


@given(slices)
def test_a_beginning_is_taken_of_what_an_older_slice_does_not_hold(given_: list[SliceRows]) -> None:
    chosen, before = select(given_), set[bytes]()
    for item in given_:
        rows = [row for row in range(len(item.labels)) if item.hashes[row].tobytes() not in before]
        found = chosen.rows.get(item.key, np.zeros(0, np.int64)).tolist()
        assert found == rows[: len(found)]
        assert chosen.stop(item.key) == (found[-1] + 1 if found else 0)
        before |= {row.tobytes() for row in item.hashes}


@given(st.integers(0, 100), st.lists(st.integers(0, 40), max_size=8))
def test_shares_are_even(total: int, sizes: list[int]) -> None:
    given_ = shares(total, sizes)
    assert sum(given_) == min(total, sum(sizes))
    assert all(part <= size for part, size in zip(given_, sizes, strict=True))
    unfilled = [part for part, size in zip(given_, sizes, strict=True) if part < size]
    if unfilled:
        assert max(given_) - min(unfilled) <= 1, "whoever could give more has got as much as anybody"


def test_givers_come_before_their_sources() -> None:
    many = [piece(key, list(range(100 * key, 100 * key + 15)), giver=1) for key in range(5)]
    one = piece(9, list(range(900, 930)), giver=2)
    chosen = select([*many, one])
    assert len(chosen.rows[9]) == 15, "its source's cap"
    assert [len(chosen.rows[key]) for key in range(5)] == [5, 5, 5, 5, 5], "five slices of one person share what is left"


def test_slices_of_one_model_or_with_the_same_rows_are_one_source() -> None:
    rows = list(range(20))
    chosen = select(
        [piece(1, rows), piece(2, [*rows[:2], *range(50, 68)]), piece(3, list(range(90, 99))), piece(4, list(range(70, 79)), model=3)]
    )
    assert chosen.sources == {1: 0, 2: 0, 3: 1, 4: 1}
    assert chosen.duplicates == 2
    apart = select([piece(1, rows), piece(2, [0, *range(50, 69)])])
    assert apart.sources == {1: 0, 2: 1}, "one row in twenty is chance"


def test_the_first_label_counts_and_conflicts_are_told() -> None:
    chosen = select([piece(1, [7, 8], labels=[0, 1]), piece(2, [7, 9], labels=[2, 2])])
    assert chosen.conflicts == 1 and chosen.rows[2].tolist() == [1]
    other = select([piece(1, [7, 8], labels=[2, 1]), piece(2, [7, 9], labels=[2, 2])])
    assert chosen.digest != other.digest and other.conflicts == 0
    assert select([piece(1, [7])], recipe="a").digest != select([piece(1, [7])], recipe="b").digest


def test_a_slice_is_even_over_classes_and_ignores_the_order_of_its_sample() -> None:
    labels = np.array([0] * 90 + [1] * 8 + [2] * 2, np.int64)
    marks = hashes(*range(100))
    rows = kept_rows(labels, marks, most=20)
    assert [np.bincount(labels[rows[:stop]], minlength=3).tolist() for stop in (3, 6, 20)] == [[1, 1, 1], [2, 2, 2], [10, 8, 2]]
    turned = np.random.default_rng(0).permutation(100)
    again = kept_rows(labels[turned], marks[turned], most=20)
    assert marks[rows].tobytes() == marks[turned][again].tobytes()


def test_a_slice_holds_no_row_twice() -> None:
    rows = kept_rows(np.array([0, 0, 1, 1], np.int64), hashes(5, 5, 6, 7))
    assert len(rows) == 3


def test_common_rows() -> None:
    assert common_rows(hashes(1, 2, 3), hashes(3, 4, 1)).tolist() == [True, False, True]
    zeros = np.zeros((1, 16), np.uint8)
    almost = zeros.copy()
    almost[0, 0] = 1
    assert common_rows(zeros, almost).tolist() == [False]


def test_layouts_that_can_be_compared() -> None:
    def table(*names: str) -> dict[str, object]:
        return {"modality": "table", "columns": [{"name": name, "kind": "numeric"} for name in names]}

    assert feature_layout(table("a", "B")) == feature_layout(table("b", "A")) != feature_layout(table("a"))
    assert feature_layout({"modality": "series", "channels": 3}) != feature_layout({"modality": "series", "channels": 6})
    assert feature_layout({"modality": "image"}) == feature_layout({"modality": "text"}) == ""


def test_nothing_gives_nothing() -> None:
    empty = select([])
    assert empty.n == 0 and empty.used_sources == 0
    assert all(low <= high for low, high in pairwise([empty.duplicates, empty.conflicts]))
