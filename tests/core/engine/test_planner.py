"""What runs together, in which order, within which memory, and what is said about its cost beforehand."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from bench.engine.costs import Point, measure
from bench.engine.networks import Transformer, family
from bench.engine.scale import fine_tunes
from gpuworker.core.engine.calibrate import siblings
from gpuworker.core.engine.code import Codes
from gpuworker.core.engine.cost import CostModel, Curve
from gpuworker.core.engine.estimate import peak_bytes
from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.kernels import Target
from gpuworker.core.engine.order import Sizes, Task, depth_first, peak_of, task
from gpuworker.core.engine.plan import Options
from gpuworker.core.engine.planner import plan, uncollected
from gpuworker.core.engine.stages import branches
from gpuworker.core.engine.widths import correction_of
from gpuworker.core.errors import LimitExceeded
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import Input
from tests.core.engine import nets
from tests.core.engine.planned import Bench
from tests.core.engine.running import TEMPLATES, assert_close

LARGE_RESNET = {**nets.RESNET, "blocks": 2, "channels": [16, 32], "height": 24, "width": 24}
LARGE_TRANSFORMER = {**nets.TRANSFORMER, "width": 64, "max_length": 64, "feed_forward": 256}


def _cost(**launch: float) -> CostModel:
    """A device where the named classes cost so much a call, however large, and all else is free."""
    names = ("gemm", "bmm", "conv", "grouped", "light", "copy", "piece", "heavy", "norm", "reduce", "gather", "attention", "free")
    return CostModel("cpu", {name: Curve(launch.get(name, 0.0), (), 0.0, 0.1) for name in names})


def test_siblings_are_merged_where_a_call_costs_more_than_its_work() -> None:
    models = [nets.net(nets.MLP, seed) for seed in range(8)]
    inputs = nets.samples(models[0][0], 4)
    merged = Bench(models, inputs, Options(chunk=4), cost=_cost(gemm=1.0, bmm=1.0)).plan
    assert [part.width for part in merged.parts] == [8]
    assert merged.predicted.ms == pytest.approx(3.0)
    assert merged.predicted.loop_ms == pytest.approx(24.0)


def test_a_merge_that_gains_less_than_timings_vary_is_left_alone() -> None:
    models = [nets.net(nets.MLP, seed) for seed in range(2)]
    inputs = nets.samples(models[0][0], 4)
    # Two of the three layers take "bmm" when merged: 1 + 1 + 2 x 2.5 against 2 x (1 + 3); then with a gain that counts.
    for bmm, width in ((2.5, 1), (2.3, 2)):
        found = Bench(models, inputs, Options(chunk=4, widths=(1, 2)), cost=_cost(gemm=1.0, bmm=bmm, piece=1.0)).plan
        assert {part.width for part in found.parts} == {width}


def test_width_changes_in_the_middle_where_that_is_cheapest() -> None:
    models = [nets.net(nets.MLP, seed) for seed in range(4)]
    inputs = nets.samples(models[0][0], 4)
    # The first layer merges into one product of the same input; the others would become batched products, dear here.
    found = Bench(models, inputs, Options(chunk=4), cost=_cost(gemm=1.0, bmm=50.0)).plan
    assert [tuple(segment.width for segment in part.segments) for part in found.parts] == [(4, 1)]
    assert_close(Bench(models, inputs, Options(chunk=4), cost=_cost(gemm=1.0, bmm=50.0)).all_rows(), nets.loop(models, inputs, 4))


def test_what_was_measured_corrects_the_choice() -> None:
    models = [nets.net(nets.MLP, seed) for seed in range(8)]
    bench = Bench(models, nets.samples(models[0][0], 4), Options(layout="plain", chunk=4, widths=(1, 8)), cost=_cost(gemm=1.0, bmm=1.0))
    assert [part.width for part in bench.plan.parts] == [8]
    whole = bench.branches[0].form.span(0, 3)
    for _ in range(4):
        bench.cost.observe(f"{whole.code_key}:8:2", 3.0, 300.0)
        bench.cost.observe(f"{whole.code_key}:1:2", 3.0, 3.0)
    assert all(segment.stop - segment.first < 3 or segment.width == 1 for part in bench.planned().parts for segment in part.segments)


def test_a_long_run_tries_a_pair_where_a_merge_may_pay_and_the_next_plan_knows() -> None:
    """A pair is predicted to take 1 + 1 + 2 x 3.3 against 2 x (1 + 3), and takes a third of it."""
    models = [nets.net(nets.MLP, seed) for seed in range(6)]
    inputs = nets.samples(models[0][0], 16)
    options = Options(layout="plain", chunk=4, widths=(1, 2))

    def widths(bench: Bench) -> list[int]:
        return sorted(part.width for part in bench.planned().parts)

    bench = Bench(models, inputs, options, cost=_cost(gemm=1.0, bmm=3.3, piece=1.0))
    assert widths(bench) == [1, 1, 1, 1, 2]
    assert_close(bench.all_rows(), nets.loop(models, inputs, 4))
    assert widths(Bench(models[:5], inputs, options, cost=bench.cost)) == [1] * 5, "too few to try with"
    short = {name: x[:12] for name, x in inputs.items()}
    assert widths(Bench(models, short, options, cost=bench.cost)) == [1] * 6, "too short to learn from"
    assert widths(Bench(models, inputs, replace(options, widths=(1,)), cost=bench.cost)) == [1] * 6, "not allowed"
    assert widths(Bench(models, inputs, options, cost=_cost(gemm=1.0, bmm=4.0, piece=1.0))) == [1] * 6, "far too slow"

    whole = bench.branches[0].form.span(0, 3).code_key
    bench.cost.observe(f"{whole}:1:2", 4.0, 4.0)
    bench.cost.observe(f"{whole}:2:2", 8.6, 2.9)
    assert widths(bench) == [2, 2, 2]
    for _ in range(6):
        bench.cost.observe(f"{whole}:2:2", 8.6, 8.6)
    assert widths(bench) == [1] * 6, "tried, and found wanting"


def test_programs_that_run_as_a_whole_are_not_tried_in_pairs() -> None:
    def made(seed: int) -> nets.Made:
        builder = Builder((Input("x", "float32", (2, 6)),))
        return builder.finish(
            [("y", builder.emit("linear", [builder.inputs[0], builder.weight(nets.weight("w", (3, 6), seed))]))], fixed_batch=2
        )

    models = [made(seed) for seed in range(6)]
    inputs = {"x": torch.randn(16, 6, generator=torch.Generator().manual_seed(0))}
    bench = Bench(models, inputs, Options(layout="plain", chunk=4, widths=(1, 2)))
    assert [part.width for part in bench.plan.parts] == [1] * 6
    assert_close(bench.all_rows(), [{"y": inputs["x"] @ nets.weight("w", (3, 6), seed).T} for seed in range(6)])


def _peak(run: Callable[[], object]) -> int:
    """Most bytes the allocator had given out at once beyond those before the call."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    alive = most = 0
    for event in sorted((e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        alive += event.nbytes()
        most = max(most, alive)
    return most


@pytest.mark.parametrize("widths", [(1,), (1, 4)], ids=["single", "merged"])
@pytest.mark.parametrize("layout", ["plain", "fast"])
@pytest.mark.parametrize(("config", "own"), [(LARGE_RESNET, ("linear",)), (LARGE_RESNET, ("",)), (LARGE_TRANSFORMER, ("",))])
def test_memory_stays_within_the_budget(config: Mapping[str, Any], own: tuple[str, ...], layout: str, widths: tuple[int, ...]) -> None:
    models = [nets.net(config, seed, own) for seed in range(4)]
    inputs = nets.samples(models[0][0], 32, length=32)
    options = Options(layout=layout, chunk=32, widths=widths, gain=0.05 if widths == (1,) else -9.0)  # type: ignore[arg-type]
    free = Bench(models, inputs, options)
    # A merged plan may have chosen small chunks already: it is given room for its weights, too.
    budget = (free.plan.predicted.peak_bytes + (free.plan.keep if widths != (1,) else 0)) * 9 // 10
    tight = Bench(models, inputs, replace(options, budget=budget))
    assert tight.plan.chunk < free.plan.chunk or widths != (1,)

    def run() -> None:
        for _ in tight.runner().run(tight.feed, 0, 32):
            pass

    run()
    assert 0 < _peak(run) <= budget


def test_a_merged_transformer_takes_as_much_as_was_predicted() -> None:
    (network,) = family(partial(Transformer, 64, 4, 1, 16), (16, 64), [("",)])
    cell = measure(Point("transformer", network, 8, 8), Target("cpu", "fast"))
    assert peak_bytes(cell.code, 8, 0) == pytest.approx(cell.peak, rel=0.05)


def test_what_cannot_fit_is_refused_before_it_starts() -> None:
    models = [nets.net(LARGE_RESNET, seed) for seed in range(2)]
    with pytest.raises(LimitExceeded, match="does not fit into memory"):
        Bench(models, nets.samples(models[0][0], 4), Options(budget=100_000))


def test_the_order_is_depth_first_and_keeps_few_results() -> None:
    """A trunk with many twigs: breadth-first would keep the result of each until the last."""
    models = [nets.net(nets.TRANSFORMER, seed, own) for seed in range(6) for own in (("head",), ("encoder.layers.2", "head"), ("",))]
    bench = Bench(models, nets.samples(models[0][0], 4), Options(layout="plain", chunk=4, widths=(1,)))
    place = {number: at for at, part in enumerate(bench.plan.parts) for number in part.branches}
    for branch in bench.branches:
        assert all(place[parent] < place[branch.number] for parent in branch.parents)
    tasks: list[Task] = [task([branch], 0) for branch in bench.branches]
    sizes = Sizes(bench.graph, 4, bench.length)
    assert peak_of(tasks, depth_first(tasks, sizes), sizes) <= peak_of(tasks, range(len(tasks)), sizes)


def synthetic(count: int, blocks: int, seed: int = 0) -> Graph:
    """Fine-tunes of fine-tunes: each model replaces the last few blocks of one before it, or all."""
    made = nets.net({"architecture": "mlp", "inputs": 8, "hidden": [8] * (blocks - 1), "classes": 8})
    model = TEMPLATES.model(made[0], "folded")
    graph = Graph()
    for one in fine_tunes(model, count, blocks, seed):
        graph.add(one, ["x"])
    return graph


def test_thousands_of_models_are_planned_and_each_block_runs_once() -> None:
    graph = synthetic(1000, 24)
    found = branches(graph)
    made = plan(graph, found, CostModel("cpu"), Codes(), Options(), 256)
    assert sorted(number for part in made.parts for number in part.branches) == [branch.number for branch in found]
    assert len(graph.nodes) < graph.steps_added
    assert 0.2 < made.predicted.shared < 1
    assert sum(share for _, share in made.candidates) == pytest.approx(made.predicted.ms, rel=1e-6)


def test_intervals_hold_the_prediction_and_shrink_with_experience() -> None:
    models = [nets.net(nets.RESNET, seed) for seed in range(3)]
    bench = Bench(models, nets.samples(models[0][0], 8), Options(chunk=8, widths=(1,)))
    before = bench.plan.predicted
    assert before.low < before.ms < before.high
    runner = bench.runner(cost=bench.cost)
    for _ in range(5):
        list(runner.run(bench.feed, 0, 8))
    after = bench.planned().predicted
    assert after.high / after.low < before.high / before.low


def test_siblings_of_one_structure_share_all_compiled_code() -> None:
    model = TEMPLATES.model(nets.net(nets.RESNET)[0], "folded")
    graph = siblings(model, 6)
    assert len({branch.form.number for branch in branches(graph)}) == 1
    assert torch.is_inference_mode_enabled() is False


def test_one_run_does_not_make_other_widths_look_better() -> None:
    models = [nets.net(nets.MLP, seed) for seed in range(8)]
    bench = Bench(models, nets.samples(models[0][0], 4), Options(layout="plain", chunk=4, widths=(1, 8)), cost=_cost(gemm=1.0, bmm=1.0))
    assert [part.width for part in bench.plan.parts] == [8]
    whole = bench.branches[0].form.span(0, 3)
    bench.cost.observe(f"{whole.code_key}:1:6", 3.0, 0.3)  # by itself it was fast, in chunks of another size
    bench.cost.observe(f"{whole.code_key}:8:2", 3.0, 6.0)
    assert [part.width for part in bench.planned().parts] == [8]


def test_a_part_that_was_never_run_is_corrected_as_the_whole() -> None:
    cost = CostModel("cpu")
    assert correction_of(cost, ["part", "whole"], 2, 4) == (1.0, 0)
    cost.observe("whole:1:2", 1.0, 3.0)
    assert correction_of(cost, ["part", "whole"], 2, 4) == (pytest.approx(3.0), 0)
    cost.observe("whole:2:2", 1.0, 5.0)
    assert correction_of(cost, ["part", "whole"], 2, 4) == (pytest.approx(5.0), 0), "of the whole, at this very width"
    cost.observe("part:2:4", 1.0, 4.0)
    assert correction_of(cost, ["part", "whole"], 2, 4) == (pytest.approx(4.0), 0), "larger chunks, the same width"
    cost.observe("part:4:2", 1.0, 2.0)
    assert correction_of(cost, ["part", "whole"], 2, 4) == (pytest.approx(2.0), 0), "chunks of this size, another width"
    cost.observe("part:2:2", 1.0, 0.5)
    assert correction_of(cost, ["part", "whole"], 2, 4) == (pytest.approx(0.5), 1)


@pytest.mark.parametrize("on", [True, False])
def test_no_garbage_is_collected_while_planning(on: bool) -> None:
    was_on = gc.isenabled()
    try:
        gc.enable() if on else gc.disable()
        with pytest.raises(KeyError), uncollected():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() is on
    finally:
        gc.enable() if was_on else gc.disable()
