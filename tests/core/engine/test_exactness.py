"""What the engine computes, against the plain loop: to the bit where work is shared, within rounding where it is merged."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from gpuworker.core.engine.code import Codes, Sizes
from gpuworker.core.engine.kernels import LARGE, Layout, Target, normalised, packed_linear
from gpuworker.core.engine.prepare import FORMS
from gpuworker.core.engine.stages import branches
from gpuworker.core.engine.templates import Rules
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import Input
from gpuworker.core.program.values import Value
from tests.core.engine import nets
from tests.core.engine.running import EXACT, FAST, assert_close, assert_equal, graph_of, run_all

HEADS = {"resnet": ("linear",), "transformer": ("head",), "mlp": ("layers.2",), "cnn1d": ("head",), "text": ("layers",)}


@pytest.mark.parametrize("family", nets.FAMILIES)
def test_shared_work_is_bit_identical(family: str) -> None:
    models = [nets.net(nets.FAMILIES[family], seed, HEADS[family]) for seed in range(4)]
    inputs = nets.samples(models[0][0], 5)
    ran = run_all(models, inputs, EXACT)
    assert_equal(ran.outputs, nets.loop(models, inputs, 5))
    trunk = next(branch for branch in ran.branches if len(branch.members) == 4 and len(branch.nodes) > 1)
    alone = [branch for branch in ran.branches if len(branch.members) == 1]
    assert len(alone) == 4
    assert len(trunk.nodes) > len(alone[0].nodes) or family == "text"


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("mode", [EXACT, FAST])
@pytest.mark.parametrize("family", nets.FAMILIES)
def test_merged_work_agrees(family: str, mode: tuple[Layout, Rules], width: int, whole: bool) -> None:
    models = [nets.net(nets.FAMILIES[family], seed) for seed in range(5)]
    inputs = nets.samples(models[0][0], 3)
    expected = nets.loop(models, inputs, 3)
    ran = run_all(models, inputs, mode, width, whole)
    assert_close(ran.outputs, expected)
    if mode == EXACT and width == 1:
        assert_equal(ran.outputs, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalising_without_scale_and_shift_is_what_torch_does(dtype: torch.dtype) -> None:
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    for rank in (1, 2):
        expected = torch.nn.functional.layer_norm(x, x.shape[3 - rank :], eps=1e-5)
        torch.testing.assert_close(normalised(x, rank, 1e-5), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("act", ["", "relu", "gelu", "tanh", "silu"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("steps", [(), (16,)])
def test_large_products_with_weights_packed_for_their_rows_agree(act: str, bias: bool, steps: tuple[int, ...]) -> None:
    inner, outer = 48, 64
    enough = LARGE // outer // math.prod(steps)

    def layer(b: Builder, x: Value, w: Callable[..., Value]) -> Value:
        y = b.emit("linear", [x, w("a.weight", outer, inner), *([w("a.bias", outer)] if bias else [])])
        return b.emit(act, [y]) if act else y

    model = nets.one(layer, Input("x", "float32", (None, *steps, inner)), 0)
    target = Target("cpu", "fast")
    branch = branches(graph_of([model], "folded")[0])[0]
    for count in (enough - 1, enough):
        forms = {need.form.name for need in Codes().single(branch.form.span(0, 1), target, Sizes(count, 0)).needs}
        assert ("packed_rows" in forms) == (target.packs and count == enough and act != "silu")
        inputs = nets.samples(model[0], count)
        assert_close(run_all([model], inputs).outputs, nets.loop([model], inputs, count))


@pytest.mark.skipif(not Target("cpu", "fast").packs, reason="this build of torch packs no weights")
def test_a_weight_packed_for_many_rows_serves_a_last_chunk_of_few() -> None:
    x, weight, bias = torch.randn(3, 48), torch.randn(64, 48), torch.randn(64)
    packed = FORMS["packed_rows"]([weight], (LARGE,))
    torch.testing.assert_close(packed_linear("")(x, packed, bias), torch.nn.functional.linear(x, weight, bias), rtol=1e-5, atol=1e-5)


def test_models_equal_in_all_but_one_branch_run_their_trunk_once() -> None:
    models = [nets.net(nets.RESNET, seed, ("linear",)) for seed in range(6)]
    ran = run_all(models, nets.samples(models[0][0], 2), EXACT)
    alone = run_all(models[:1], nets.samples(models[0][0], 2), EXACT)
    assert len(ran.ops) == len(alone.ops) + 5


def test_the_order_of_models_changes_no_key_and_no_result() -> None:
    models = [nets.net(nets.TRANSFORMER, seed, ("encoder.layers.2", "head")) for seed in range(3)]
    inputs = nets.samples(models[0][0], 4)
    forth, back = run_all(models, inputs, EXACT), run_all(models[::-1], inputs, EXACT)
    assert_equal(forth.outputs, back.outputs[::-1])
    keys = [{graph.key(node) for node in range(len(graph.nodes))} for graph in (forth.graph, back.graph)]
    assert keys[0] == keys[1]


def test_a_program_with_a_fixed_batch_runs_as_it_is() -> None:
    builder = Builder((Input("x", "float32", (2, 6)),))
    made = builder.finish([("y", builder.emit("relu", [builder.inputs[0]]))], fixed_batch=2)
    inputs = nets.samples(nets.net(nets.MLP)[0], 5)
    inputs = {"x": next(iter(inputs.values()))}
    ran = run_all([made, made], inputs, EXACT)
    assert ran.outputs[0]["y"].equal(inputs["x"].relu())
    assert len(ran.ops) == 1
