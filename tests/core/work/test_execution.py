"""Running a stored program on rows: inputs shared between candidates, harmless re-readings of shapes, honest memory figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpuworker.core.errors import ExecutionFailed, TrialFailed
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import Input
from gpuworker.core.program.store import TensorStore
from gpuworker.core.sandbox.contract import State
from gpuworker.core.work import execution
from gpuworker.core.work.execution import encode, run_rows
from gpuworker.core.work.models import memory_bytes, try_model
from tests.core.work.build import image_batch, linear, request_of, spec_of

SIDE = 4
FLAT = {"height": SIDE, "width": SIDE, "channels": 1, "layout": "flat"}
ROWS = torch.linspace(-1, 1, 3 * SIDE * SIDE).reshape(3, -1)


@pytest.fixture
def store(tmp_path: Path) -> TensorStore:
    return TensorStore(tmp_path)


def answers(store: TensorStore, state: State, rows: torch.Tensor, start: int, stop: int, **spec: Any) -> np.ndarray:
    program, tensors = linear(rows)
    with request_of(store, program, tensors, spec_of("image", FLAT | spec), start=start, stop=stop) as request:
        reply = run_rows(state, request)
    assert reply.meta["seconds"] > 0
    return reply.arrays["log_probs"]


def test_rows_are_the_softmax_of_the_stored_program(store: TensorStore) -> None:
    batch = image_batch(20, SIDE)
    found = answers(store, {"batch": batch}, ROWS, 3, 9)
    pixels = torch.from_numpy(batch.arrays["pixels"].reshape(20, -1)[3:9] / np.float32(255))
    torch.testing.assert_close(torch.from_numpy(found), torch.log_softmax(pixels @ ROWS.T, 1))


def test_candidates_with_the_same_preprocessing_share_their_inputs(store: TensorStore) -> None:
    state: State = {"batch": image_batch(20, SIDE)}
    first = answers(store, state, ROWS, 0, 10)
    (kept,) = state["encoded"].values()
    second = answers(store, state, -ROWS, 0, 10)
    assert next(iter(state["encoded"].values())) is kept and len(state["encoded"]) == 1
    np.testing.assert_array_equal(first.argmax(1), second.argmin(1))


def test_other_rows_or_other_preprocessing_are_encoded_anew_and_as_much_as_there_is_room_for_is_kept(
    store: TensorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    state: State = {"batch": image_batch(40, SIDE)}
    plain = answers(store, state, ROWS, 0, 2)
    assert not np.array_equal(answers(store, state, ROWS, 0, 2, invert=True), plain)
    assert not np.array_equal(answers(store, state, ROWS, 2, 4), plain)
    assert len(state["encoded"]) == 3
    one = sum(array.nbytes for array in next(iter(state["encoded"].values())).values())
    monkeypatch.setattr(execution, "ENCODED_BYTES", 5 * one)
    for start in range(4, 20, 2):
        answers(store, state, ROWS, start, start + 2)
    assert len(state["encoded"]) == 5 and state["encoded_bytes"] == 5 * one
    np.testing.assert_array_equal(answers(store, state, ROWS, 0, 2), plain)


def test_an_input_of_another_shape_but_the_same_size_is_fed(store: TensorStore) -> None:
    batch = image_batch(5, SIDE)
    program, _ = linear(ROWS, (None, SIDE * SIDE, 1))
    fed = encode(batch, spec_of("image", FLAT), program, 0, 5)
    assert fed["x"].shape == (5, 16, 1)
    square, _ = linear(ROWS, (None, SIDE, SIDE))
    assert encode(batch, spec_of("image", FLAT), square, 0, 5)["x"].shape == (5, 4, 4)


def test_an_input_of_another_size_names_expected_and_found(store: TensorStore) -> None:
    program, tensors = linear(torch.zeros(3, 25))
    state: State = {"batch": image_batch(5, SIDE)}
    with (
        request_of(store, program, tensors, spec_of("image", FLAT), start=0, stop=5) as request,
        pytest.raises(ExecutionFailed, match=r"expected float32 \['any', 25\], found float32 \[5, 16\]"),
    ):
        run_rows(state, request)


def test_bad_outputs_are_told_to_the_publisher_and_to_the_searcher(store: TensorStore) -> None:
    program, tensors = linear(torch.full((3, 16), torch.nan))
    with request_of(store, program, tensors, spec_of("image", FLAT), start=0, stop=5) as request:
        with pytest.raises(ExecutionFailed, match="NaN") as searcher:
            run_rows({"batch": image_batch(5, SIDE)}, request)
        with pytest.raises(TrialFailed, match="NaN") as publisher:
            try_model({}, request)
    assert "samples" in searcher.value.fix and "input spec" in publisher.value.fix


def test_a_trial_measures_time_and_memory(store: TensorStore) -> None:
    program, tensors = linear(ROWS)
    with request_of(store, program, tensors, spec_of("image", FLAT)) as request:
        made_up, on_samples = try_model({}, request), try_model({"batch": image_batch(5, SIDE)}, request)
    weights, one, logits = 3 * 16 * 4, 16 * 4, 3 * 4
    assert made_up.meta["memory_bytes"] == on_samples.meta["memory_bytes"] == weights + one + logits
    assert made_up.meta["latency_ms"] > 0


@pytest.mark.parametrize(("dtype", "item"), [(torch.float32, 4), (torch.float16, 2), (torch.float64, 8)])
def test_memory_is_weights_in_their_type_and_the_peak_of_live_values(dtype: torch.dtype, item: int) -> None:
    """At the widest place the hidden layer and its relu are alive together; input and output are smaller and not there."""
    builder = Builder((Input("x", str(dtype)[6:], (None, 10)),))
    hidden = builder.emit("linear", [builder.inputs[0], builder.weight(torch.ones(1000, 10, dtype=dtype))])
    value = builder.emit("relu", [hidden])
    value = builder.emit("linear", [value, builder.weight(torch.full((3, 1000), 0.1, dtype=dtype))])
    program, tensors = builder.finish([("y", value)])
    one = {"x": np.zeros((1, 10), str(dtype)[6:])}
    assert memory_bytes(program, tensors, one) == item * (10_000 + 3_000) + item * 2_000


def test_views_take_no_memory_and_what_is_held_to_the_end_does() -> None:
    builder = Builder((Input("x", "float32", (None, 1000)),))
    x = builder.inputs[0]
    turned = builder.permute(builder.reshape(x, [0, 10, 100]), [0, 2, 1])
    value = builder.emit("relu", [turned])
    value = builder.emit("add", [builder.reshape(builder.permute(value, [0, 2, 1]), [0, 1000]), x])
    program, tensors = builder.finish([("y", value)])
    assert len(program.ops) >= 4
    # x, relu and their sum: what was reshaped and turned on the way looks into memory that is counted already.
    assert memory_bytes(program, tensors, {"x": np.ones((1, 1000), np.float32)}) == 3 * 4000


def test_a_fixed_batch_takes_the_memory_of_the_whole_batch() -> None:
    builder = Builder((Input("x", "float32", (8, 100)),))
    program, tensors = builder.finish([("y", builder.emit("relu", [builder.inputs[0]]))], 8)
    assert memory_bytes(program, tensors, {"x": np.ones((1, 100), np.float32)}) == 2 * 8 * 100 * 4


def test_a_view_of_a_weight_is_counted_with_the_weights() -> None:
    builder = Builder((Input("x", "float32", (None, 10)),))
    x = builder.inputs[0]
    wide = builder.emit("expand", [builder.weight(torch.ones(1, 1000))], {"dims": [builder.size(x, 0), 1000]})
    program, tensors = builder.finish([("x", x), ("y", wide)])
    assert [op.name for op in program.ops] == ["size", "expand"]
    assert memory_bytes(program, tensors, {"x": np.ones((1, 10), np.float32)}) == 4000 + 40
