"""What the engine computes, against the plain loop: to the bit where work is shared, within rounding where it is merged."""

from __future__ import annotations

import pytest
import torch

from gpuworker.core.engine.kernels import Layout, normalised
from gpuworker.core.engine.templates import Rules
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import Input
from tests.core.engine import nets
from tests.core.engine.running import EXACT, FAST, assert_close, assert_equal, run_all

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
