"""Running programs: results, named failures, caps, batches, and keys that meet."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from gpuworker.core.errors import ExecutionFailed, LimitExceeded
from gpuworker.core.program.build import Builder
from gpuworker.core.program.execute import run, run_batched
from gpuworker.core.program.keys import class_keys, value_keys
from gpuworker.core.program.model import Input, Program
from gpuworker.core.program.ops import OPS
from gpuworker.core.program.ops import elementwise as module

X = Input("x", "float32", (None, 4))


def one(
    name: str, attributes: dict[str, object] | None = None, extra: tuple[torch.Tensor, ...] = (), port: Input = X
) -> tuple[Program, dict[str, torch.Tensor]]:
    builder = Builder((port,))
    return builder.finish([("y", builder.emit(name, [builder.inputs[0], *(builder.weight(item) for item in extra)], attributes))])


def test_a_failure_names_the_operator_and_its_shapes() -> None:
    program, tensors = one("take", {"dim": 1}, (torch.tensor([9]),))
    with pytest.raises(ExecutionFailed) as caught:
        run(program, tensors, {"x": torch.zeros(2, 4)})
    assert "Operator 1 of 1 (take) on shapes [[2, 4], [1]]" in caught.value.detail


@pytest.mark.parametrize(
    ("feed", "says"),
    [
        ({}, "wrong inputs"),
        ({"x": torch.zeros(2, 5)}, "does not fit"),
        ({"x": torch.zeros(2, 4, dtype=torch.float64)}, "does not fit"),
        ({"x": torch.zeros(2)}, "does not fit"),
    ],
)
def test_inputs_are_checked(feed: dict[str, torch.Tensor], says: str) -> None:
    program, tensors = one("relu")
    with pytest.raises(ExecutionFailed, match=says):
        run(program, tensors, feed)


def test_missing_weights_are_named() -> None:
    program, _ = one("linear", None, (torch.eye(4),))
    with pytest.raises(ExecutionFailed, match="Weights"):
        run(program, {}, {"x": torch.zeros(1, 4)})


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("tile", {"dims": [1 << 20, 1 << 20]}),
        ("expand", {"dims": [1 << 20, 1 << 20, 4, 4]}),
        ("pad", {"dims": [0, 0, 1 << 40, 0]}),
        ("one_hot", {"size": 1 << 40}),
        ("resize", {"dims": [1 << 20, 1 << 20]}),
        ("resize", {"scales": [1e6, 1e6]}),
    ],
)
def test_results_beyond_the_cap_are_never_made(name: str, attributes: dict[str, object]) -> None:
    program, tensors = one(name, attributes)
    with pytest.raises(LimitExceeded, match=name):
        run(program, tensors, {"x": torch.zeros(4, 4)})


@pytest.mark.parametrize("attributes", [{"dims": [1 << 40], "value": 1.0}, {"dims": [1 << 20, 1 << 20], "value": 0.0}])
def test_constants_beyond_the_cap_stop_the_import(attributes: dict[str, object]) -> None:
    with pytest.raises(LimitExceeded, match="full"):
        Builder((X,)).emit("full", (), attributes)


def test_an_outer_product_by_broadcasting_is_capped() -> None:
    builder = Builder((Input("x", "float32", (None,)),))
    x = builder.inputs[0]
    product = builder.emit("mul", [builder.emit("unsqueeze", [x], {"dims": [0]}), builder.emit("unsqueeze", [x], {"dims": [1]})])
    program, tensors = builder.finish([("y", product)])
    with pytest.raises(LimitExceeded, match="mul"):
        run(program, tensors, {"x": torch.zeros(1 << 14)})


def test_values_are_dropped_after_their_last_use(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[torch.Tensor]] = []
    counts: list[int] = []
    plain = OPS["tanh"].run

    def watched(inputs: list[torch.Tensor], attributes: dict[str, object]) -> torch.Tensor:
        gc.collect()
        counts.append(sum(ref() is not None for ref in alive))
        result = plain(inputs, attributes)
        alive.append(weakref.ref(result))
        return result

    builder = Builder((X,))
    value = builder.inputs[0]
    for _ in range(6):
        value = builder.emit("tanh", [value])
    program, tensors = builder.finish([("y", value)])
    spec = module.OpSpec("tanh", watched, (1, 1))
    monkeypatch.setitem(OPS, "tanh", spec)
    run(program, tensors, {"x": torch.ones(2, 4)})
    assert max(counts) == 1


def test_a_fixed_batch_is_fed_in_padded_parts() -> None:
    builder = Builder((Input("x", "float32", (4, 3)),))
    program, tensors = builder.finish([("y", builder.emit("softmax", [builder.inputs[0]]))], fixed_batch=4)
    x = torch.randn(10, 3)
    found = run_batched(program, tensors, {"x": x}, batch_size=100)["y"]
    assert torch.equal(found, x.softmax(-1))


def test_batches_join_to_the_whole() -> None:
    program, tensors = one("linear", None, (torch.randn(3, 4), torch.randn(3)))
    x = torch.randn(11, 4)
    parts = run_batched(program, tensors, {"x": x}, batch_size=4)["y"]
    assert torch.allclose(parts, run(program, tensors, {"x": x})["y"])


def test_an_output_without_a_row_per_sample_is_an_error() -> None:
    builder = Builder((X,))
    program, tensors = builder.finish([("y", builder.emit("sum", [builder.inputs[0]], {"dims": [0]}))])
    with pytest.raises(ExecutionFailed, match="one row per sample"):
        run_batched(program, tensors, {"x": torch.zeros(7, 4)}, batch_size=3)


def _two_layers(first: torch.Tensor, second: torch.Tensor, name: str) -> Program:
    builder = Builder((Input(name, "float32", (None, 4)),))
    hidden = builder.emit("relu", [builder.emit("linear", [builder.inputs[0], builder.weight(first)])])
    return builder.finish([(f"{name}_out", builder.emit("linear", [hidden, builder.weight(second)]))])[0]


def test_keys_say_what_is_shared_and_what_can_be_merged() -> None:
    trunk, head, other = torch.randn(4, 4), torch.randn(2, 4), torch.randn(2, 4)
    a, b = _two_layers(trunk, head, "a"), _two_layers(trunk.clone(), other, "b")
    assert value_keys(a)[:2] == value_keys(b)[:2]
    assert value_keys(a)[2] != value_keys(b)[2]
    assert class_keys(a) == class_keys(b)
    assert class_keys(a) != class_keys(_two_layers(trunk, torch.randn(3, 4), "a"))


def test_dead_and_repeated_code_is_dropped() -> None:
    builder = Builder((X,))
    x = builder.inputs[0]
    builder.emit("exp", [x])
    total = builder.emit("add", [builder.emit("relu", [x]), builder.emit("relu", [x])])
    program, _ = builder.finish([("y", total)])
    assert [op.name for op in program.ops] == ["relu", "add"]


def test_every_view_takes_one_form() -> None:
    builder = Builder((Input("x", "float32", (None, 3, 4)),))
    x = builder.inputs[0]
    for dims in ([-1, 12], [0, 12], [builder.size(x, 0), 12], [0, -1]):
        assert builder.reshape(x, dims) is builder.reshape(x, [-1, 12])
    program, _ = builder.finish([("y", builder.reshape(builder.reshape(x, [-1, 12]), [0, 4, 3]))])
    assert [op.attributes["dims"] for op in program.ops] == [(0, 4, 3)]
