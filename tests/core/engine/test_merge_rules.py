"""Every merge rule against the loop, with own and with common weights, and no rule that silently runs members one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gpuworker.core.engine import merged
from gpuworker.core.engine.kernels import Layout
from gpuworker.core.engine.merge_call import Call, MergedKernel
from gpuworker.core.engine.templates import Rules
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import Input
from gpuworker.core.program.values import Value
from tests.core.engine import nets
from tests.core.engine.running import EXACT, FAST, assert_close, run_all

ROW = Input("x", "float32", (None, 6))
STEPS = Input("x", "float32", (None, 5, 6))
IMAGE = Input("x", "float32", (None, 4, 6, 6))
SERIES = Input("x", "float32", (None, 4, 12))
TOKENS = Input("x", "int64", (None, 7))
Weight = Callable[..., Value]
Build = Callable[[Builder, Value, Weight], Value]


def _first(port: Input) -> tuple[str, list[int]]:
    """The layer put before an operator so that its input differs between members."""
    return {ROW: ("linear", [6, 6]), STEPS: ("linear", [6, 6]), IMAGE: ("conv", [4, 4, 1, 1]), SERIES: ("conv", [4, 4, 1])}[port]


def _op(name: str, attributes: dict[str, Any] | None = None, *shapes: tuple[int, ...]) -> Build:
    def build(b: Builder, x: Value, w: Weight) -> Value:
        return b.emit(name, [x, *(w(f"{name}{place}.weight", *shape) for place, shape in enumerate(shapes))], attributes)

    return build


def _attention(b: Builder, x: Value, w: Weight) -> Value:
    parts = [b.emit("linear", [x, w(f"{part}", 6, 6)]) for part in "qkv"]
    return b.emit("attention", [b.emit("unsqueeze", [part], {"dims": [1]}) for part in parts])


def _recurrent(kind: str, bidirectional: bool, layers: int = 1) -> Build:
    def build(b: Builder, x: Value, w: Weight) -> Value:
        gates, states = (4, 2) if kind == "lstm" else (3, 1)
        weights = []
        for layer in range(layers):
            for way in range(2 if bidirectional else 1):
                width = 6 if layer == 0 else 3 * (2 if bidirectional else 1)
                for part, shape in (("i", (gates * 3, width)), ("h", (gates * 3, 3)), ("bi", (gates * 3,)), ("bh", (gates * 3,))):
                    weights.append(w(f"{part}{layer}{way}", *shape))
        attributes = {"batch_first": True, "bidirectional": bidirectional, "layers": layers}
        return b.emit_many(kind, [x, *([None] * states), *weights], attributes, 1)[0]

    return build


def _batch_norm(b: Builder, x: Value, w: Weight) -> Value:
    return b.emit("batch_norm", [x, *(w(f"norm.{part}", 4) for part in ("weight", "bias", "running_mean", "running_var"))])


def _padded(b: Builder, x: Value, w: Weight) -> Value:
    return b.emit("conv", [x, w("odd.weight", 5, 4, 3, 3), w("odd.bias", 5)], {"pads": [0, 1, 2, 1], "stride": [2, 1]})


def _residual(b: Builder, x: Value, w: Weight) -> Value:
    y = b.emit("conv", [x, w("in.weight", 4, 4, 3, 3), w("in.bias", 4)], {"pads": [1, 1, 1, 1]})
    return b.emit("relu", [b.emit("add", [b.emit("relu", [y]), x])])


def _depthwise(b: Builder, x: Value, w: Weight) -> Value:
    return b.emit("conv", [x, w("deep.weight", 8, 1, 3, 3), w("deep.bias", 8)], {"groups": 4})


def _table(b: Builder, x: Value, w: Weight) -> Value:
    return b.emit("embedding", [w("table", 30, 4), x])


CASES: dict[str, tuple[Input, Build]] = {
    "linear row": (ROW, _op("linear", None, (5, 6), (5,))),
    "linear steps": (STEPS, _op("linear", None, (5, 6), (5,))),
    "linear no bias": (STEPS, _op("linear", None, (5, 6))),
    "conv": (IMAGE, _op("conv", {"pads": [1, 1, 1, 1]}, (5, 4, 3, 3), (5,))),
    "conv series": (SERIES, _op("conv", {"stride": [2], "dilation": [2]}, (5, 4, 3), (5,))),
    "conv uneven pads": (IMAGE, _padded),
    "conv depthwise": (IMAGE, _depthwise),
    "conv residual": (IMAGE, _residual),
    "batch norm": (IMAGE, _batch_norm),
    "group norm": (IMAGE, _op("group_norm", {"groups": 2}, (4,), (4,))),
    "instance norm": (IMAGE, _op("instance_norm", None, (4,), (4,))),
    "layer norm": (STEPS, _op("layer_norm", {"rank": 1}, (6,), (6,))),
    "layer norm of two": (STEPS, _op("layer_norm", {"rank": 2}, (5, 6), (5, 6))),
    "rms norm": (STEPS, _op("rms_norm", {"rank": 1}, (6,))),
    "attention": (STEPS, _attention),
    "lstm": (STEPS, _recurrent("lstm", False)),
    "lstm both ways, two layers": (STEPS, _recurrent("lstm", True, 2)),
    "gru": (STEPS, _recurrent("gru", False)),
    "gru both ways": (STEPS, _recurrent("gru", True)),
    "embedding": (TOKENS, _table),
    "max pool": (IMAGE, _op("max_pool", {"kernel": [2, 2], "stride": [2, 2]})),
    "avg pool": (IMAGE, _op("avg_pool", {"kernel": [3, 3], "pads": [1, 1, 1, 1], "stride": [2, 2]})),
    "adaptive pool": (IMAGE, _op("adaptive_pool", {"dims": [2, 2]})),
    "softmax": (STEPS, _op("softmax", {"dim": -1})),
    "softmax over channels": (IMAGE, _op("softmax", {"dim": 1})),
    "mean over space": (IMAGE, _op("mean", {"dims": [2, 3]})),
    "sum over channels": (IMAGE, _op("sum", {"dims": [1], "keepdim": True})),
    "gelu": (ROW, _op("gelu")),
    "add a weight": (STEPS, _op("add", None, (5, 6))),
    "mul a vector": (IMAGE, _op("mul", None, (6,))),
    "matmul a matrix": (STEPS, _op("matmul", None, (6, 4))),
    "reshape": (STEPS, _op("reshape", {"dims": [0, -1]})),
    "permute": (IMAGE, _op("permute", {"dims": [0, 2, 3, 1]})),
    "select": (STEPS, _op("select", {"dim": 1, "index": 2})),
    "slice": (IMAGE, _op("slice", {"dim": 1, "start": 1, "end": 3})),
    "argmax": (STEPS, _op("argmax", {"dim": 1})),
}


@pytest.mark.parametrize("mode", [EXACT, FAST], ids=["plain", "fast"])
@pytest.mark.parametrize("differs", ["weights", "inputs", "both"])
@pytest.mark.parametrize("case", CASES)
def test_a_rule_agrees_with_the_loop(case: str, differs: str, mode: tuple[Layout, Rules], monkeypatch: pytest.MonkeyPatch) -> None:
    port, build = CASES[case]
    if differs != "weights" and port is TOKENS:
        pytest.skip("whole numbers come from no layer")
    by_hand: list[str] = []

    def one_by_one(call: Call) -> MergedKernel:
        by_hand.append(call.step.kind.name)
        return kept(call)

    kept = merged.one_by_one
    monkeypatch.setattr(merged, "one_by_one", one_by_one)

    def network(seed: int) -> nets.Made:
        def whole(b: Builder, x: Value, w: Weight) -> Value:
            if differs != "weights":
                name, shape = _first(port)
                x = b.emit(name, [x, b.weight(nets.weight("first", tuple(shape), seed))])
                x = b.emit("tanh", [x])
            return build(b, x, w if differs != "inputs" else lambda name, *shape: b.weight(nets.weight(name, shape, 0)))

        return nets.one(whole, port, seed)

    models = [network(seed) for seed in range(3)]
    inputs = nets.samples(models[0][0], 4)
    ran = run_all(models, inputs, mode, width=3, whole=True)
    assert_close(ran.outputs, nets.loop(models, inputs, 4))
    # Recurrent layers with common weights and other inputs have no rule of their own: nothing would be saved.
    assert set(by_hand) <= ({"lstm", "gru"} if differs == "inputs" else set())


def test_an_operator_without_a_rule_runs_member_by_member() -> None:
    def build(b: Builder, x: Value, w: Weight) -> Value:
        return b.emit("lp_normalize", [b.emit("flip", [b.emit("linear", [x, w("w", 6, 6)])], {"dims": [1]})], {"dim": 1})

    models = [nets.one(build, ROW, seed) for seed in range(4)]
    inputs = nets.samples(models[0][0], 3)
    assert_close(run_all(models, inputs, EXACT, 4, True).outputs, nets.loop(models, inputs, 3))


def test_an_index_out_of_range_is_refused_when_merged_as_it_is_alone() -> None:
    models = [nets.one(_table, TOKENS, seed) for seed in range(2)]
    with pytest.raises(IndexError, match="out of range"):
        run_all(models, {"x": torch.full((2, 7), 30)}, EXACT, 2)
