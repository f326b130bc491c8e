from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuworker.core.errors import UnreadableSamples
from gpuworker.core.modalities.batches import content_hash, dump_batch, load_batch, row_digests, string_column, strings, take
from gpuworker.core.protocols import SampleBatch

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def make(texts: list[str], modality: str = "text") -> SampleBatch:
    numbers = np.arange(2 * len(texts), dtype=np.float32).reshape(-1, 2)
    return SampleBatch(modality, len(texts), string_column("text", texts) | {"numbers": numbers}, {"column": "ü"})


@settings(deadline=None)
@given(st.lists(TEXT, max_size=12))
def test_dump_and_load_give_the_same_batch(texts: list[str]) -> None:
    batch = make(texts)
    again = load_batch(dump_batch(batch))
    assert strings(again, "text") == texts
    assert (again.modality, again.n, again.meta) == (batch.modality, batch.n, batch.meta)
    np.testing.assert_array_equal(again.arrays["numbers"], batch.arrays["numbers"])
    assert content_hash(again) == content_hash(batch)


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=8).flatmap(lambda t: st.tuples(st.just(t), st.lists(st.integers(0, len(t) - 1), max_size=10))))
def test_take_picks_rows_of_ragged_and_plain_arrays(case: tuple[list[str], list[int]]) -> None:
    texts, rows = case
    taken = take(make(texts), rows)
    assert taken.n == len(rows)
    assert strings(taken, "text") == [texts[row] for row in rows]
    assert taken.arrays["numbers"][:, 0].tolist() == [2 * row for row in rows]
    assert strings(taken, "text", 1, 3) == [texts[row] for row in rows][1:3]


def test_take_refuses_rows_outside() -> None:
    with pytest.raises(IndexError, match="0..1"):
        take(make(["a", "b"]), [2])
    with pytest.raises(IndexError):
        take(make(["a", "b"]), [-1])


def test_content_hash_sees_every_part() -> None:
    base = make(["a", "bc"])
    others = [
        make(["ab", "c"]),
        make(["a", "bc"], "pair"),
        SampleBatch("text", 2, base.arrays, {"column": "v"}),
        SampleBatch("text", 2, {**base.arrays, "numbers": base.arrays["numbers"].astype(np.float64)}, base.meta),
    ]
    assert len({content_hash(batch) for batch in [base, *others]}) == 5


def test_row_digests_equal_only_for_equal_rows() -> None:
    batch = SampleBatch("pair", 4, string_column("left.0", ["a", "a", "ab", "a"]) | string_column("right.0", ["bc", "bc", "c", "bd"]))
    first, second, third, fourth = row_digests(batch)
    assert first == second
    assert len({first, third, fourth}) == 3
    assert row_digests(take(batch, [2]))[0] == third


def broken(**changes: np.ndarray) -> bytes:
    arrays = safetensors.numpy.load(dump_batch(make(["ab", "c"])))
    return safetensors.numpy.save(arrays | changes)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"nonsense", "safetensors"),
        (safetensors.numpy.save({"x": np.zeros(1)}), "head"),
        (broken(**{"batch.json": np.frombuffer(b"{", np.uint8)}), "JSON"),
        (broken(**{"batch.json": np.frombuffer(b'{"version": "other"}', np.uint8)}), "modelshop.batch/1"),
        (broken(**{"batch.json": np.frombuffer(b'{"version":"modelshop.batch/1","modality":"text","n":-1,"meta":{}}', np.uint8)}), "lacks"),
        (broken(**{"text.offsets": np.array([0, 2, 99])}), "rows"),
        (broken(**{"text.offsets": np.array([0, 3, 2])}), "rows"),
        (broken(**{"text.offsets": np.array([0, 5, 3])}), "rows"),
        (broken(**{"text.offsets": np.array([0, 3])}), "expected int64"),
        (broken(numbers=np.zeros((3, 2))), "expected 2 rows"),
        (broken(**{"lost.offsets": np.array([0, 0, 0])}), "no flat array"),
    ],
)
def test_load_refuses_what_does_not_hang_together(data: bytes, words: str) -> None:
    with pytest.raises(UnreadableSamples, match=words):
        load_batch(data)
