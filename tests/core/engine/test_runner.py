"""Plans at work: rows, rungs, failures by name, cancellation, taking up again, cached results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import pytest
import torch

from gpuworker.core.engine.cache import ResultCache
from gpuworker.core.engine.code import Code, Codes
from gpuworker.core.engine.cost import CostModel, Curve
from gpuworker.core.engine.events import Checkpoint, Event, Rows, Worked
from gpuworker.core.engine.execute import Segment
from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.plan import Options, Part, Plan
from gpuworker.core.engine.planner import plan
from gpuworker.core.engine.runner import PlanRunner
from gpuworker.core.engine.stages import branches
from gpuworker.core.engine.work import AMOUNTS
from gpuworker.core.errors import ExecutionFailed
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import Input
from gpuworker.core.program.values import Value
from tests.core.engine import nets
from tests.core.engine.planned import Bench, checkpoints, failures, joined
from tests.core.engine.running import TEMPLATES, assert_close, assert_equal

PLAIN = Options(layout="plain", chunk=8, widths=(1,))
MERGED = Options(layout="fast", chunk=8)


def _mix() -> list[nets.Made]:
    heads = [nets.net(nets.RESNET, seed, ("linear",)) for seed in range(4)]
    blocks = [nets.net(nets.RESNET, seed, ("layer2", "linear")) for seed in range(4, 7)]
    return [*heads, *blocks, *(nets.net(nets.RESNET, seed) for seed in range(7, 10)), heads[0]]


def _forced(bench: Bench, width: int) -> None:
    """Every set of siblings in one part, at that width, whatever the planner would say."""
    parts: dict[tuple[int, tuple[int, ...]], Part] = {}
    for part in bench.plan.parts:
        for number in part.branches:
            branch = bench.branches[number]
            key = branch.form.number, branch.inputs
            before = parts[key].branches if key in parts else ()
            parts[key] = Part((*before, number), (Segment(0, branch.form.stages, width),), 0.0, 0)
    bench.plan = replace(bench.plan, parts=tuple(parts.values()))


def test_rows_equal_the_loops_to_the_bit_in_the_plain_layout() -> None:
    models = _mix()
    inputs = nets.samples(models[0][0], 21)
    bench = Bench(models, inputs, PLAIN)
    events = list(bench.runner().run(bench.feed, 0, 21))
    assert_equal(joined(events, len(models)), nets.loop(models, inputs, bench.plan.chunk))
    assert {stop for _, stop in checkpoints(events)} == {8, 16, 21}
    assert not failures(events)


@pytest.mark.parametrize("width", [2, 8])
def test_merged_rows_agree_with_the_loop(width: int) -> None:
    models = _mix()
    inputs = nets.samples(models[0][0], 11)
    bench = Bench(models, inputs, MERGED)
    _forced(bench, width)
    assert_close(bench.all_rows(), nets.loop(models, inputs, 11))


def test_a_plan_survives_json() -> None:
    bench = Bench(_mix(), nets.samples(_mix()[0][0], 11), MERGED)
    again = Plan.from_json(bench.plan.to_json())
    assert again == bench.plan


def test_a_plan_for_other_models_is_refused() -> None:
    one, other = Bench(_mix(), nets.samples(_mix()[0][0], 4), MERGED), Bench(_mix()[:3], nets.samples(_mix()[0][0], 4), MERGED)
    one.plan = other.plan
    with pytest.raises(ValueError, match="other models"):
        one.runner()


def test_rungs_go_on_where_the_last_one_ended_and_dropped_models_are_left_out() -> None:
    models = _mix()
    inputs = nets.samples(models[0][0], 24)
    bench = Bench(models, inputs, PLAIN)
    runner = bench.runner()
    events = list(runner.run(bench.feed, 0, 8))
    runner.drop([0, 9])
    later = list(runner.run(bench.feed, 8, 24))
    assert {event.model for event in later if isinstance(event, Rows)} == set(range(len(models))) - {0, 9}
    expected = nets.loop(models, inputs, 8)
    found = joined([*events, *later], len(models))
    for place in (0, 9):
        expected[place] = {"logits": expected[place]["logits"][:8]}
    assert_equal(found, expected)


def _count(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Calls of operators from here on."""
    calls: list[int] = []
    run = Code.run

    def counted(self: Code, inputs: list[object], weights: list[torch.Tensor]) -> list[object]:
        calls.append(len(self.calls))
        return run(self, inputs, weights)

    monkeypatch.setattr(Code, "run", counted)
    return calls


def test_a_killed_run_is_taken_up_without_doing_anything_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    models = _mix()
    inputs = nets.samples(models[0][0], 24)
    whole = Bench(models, inputs, PLAIN)
    calls = _count(monkeypatch)
    expected = whole.all_rows()
    undisturbed, calls[:] = sum(calls), []
    bench = Bench(models, inputs, PLAIN)
    kept: list[Event] = []
    for event in bench.runner().run(bench.feed, 0, 24):
        kept.append(event)
        if isinstance(event, Checkpoint) and len(checkpoints(kept)) == 2:
            break
    have = {event.model: event.stop for event in kept if isinstance(event, Rows)}
    kept += bench.runner().run(bench.feed, 0, 24, have)
    assert_equal(joined(kept, len(models)), expected)
    assert sum(calls) == undisturbed


def test_the_caller_hears_of_every_piece_and_can_stop_there(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(_mix(), nets.samples(_mix()[0][0], 24), PLAIN)
    calls = _count(monkeypatch)
    run = bench.runner().run(bench.feed, 0, 24)
    worked = list(islice((event for event in run if isinstance(event, Worked)), 3))
    run.close()  # type: ignore[attr-defined]
    assert len(calls) == 3 and all(event.ms > 0 and 0 <= event.part < len(bench.plan.parts) for event in worked)


def test_the_start_of_a_chunk_is_compared_with_what_the_start_should_take(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[float]] = {}
    monkeypatch.setattr(CostModel, "observe", lambda self, key, predicted, *_: seen.setdefault(key, set()).add(round(predicted, 6)))
    by_elements = {name: Curve(0.0, ((("written",), 1.0),) if "written" in AMOUNTS[name] else (), 0.0, 0.1) for name in AMOUNTS}
    models = [nets.net(nets.MLP)]
    bench = Bench(models, nets.samples(models[0][0], 8), Options(layout="plain", chunk=8), cost=CostModel("cpu", by_elements))
    runner = bench.runner(cost=bench.cost)
    for stop in (2, 2, 8):
        list(runner.run(bench.feed, 0, stop))
    (two, (few,)), (eight, (many,)) = sorted(seen.items())
    assert (two[-4:], eight[-4:]) == (":1:1", ":1:3") and many == pytest.approx(4 * few)


def test_inputs_that_cannot_be_made_fail_only_those_that_want_them() -> None:
    models, inputs = _mix(), nets.samples(_mix()[0][0], 24)
    graph = Graph()
    store: dict[str, torch.Tensor] = {}
    for number, (program, tensors) in enumerate(models):
        store |= tensors
        graph.add(TEMPLATES.model(program, "exact"), ["bad" if number in (0, 3) else "good"])
    found = branches(graph)
    made = plan(graph, found, CostModel("cpu"), Codes(), PLAIN, 24)

    def feed(key: str, start: int, stop: int) -> torch.Tensor:
        if key == "bad":
            raise ExecutionFailed("The samples have another rate.", fix="Upload others.")
        return next(iter(inputs.values()))[start:stop]

    events = list(PlanRunner(graph, found, made, store.__getitem__, Codes()).run(feed, 0, 24))
    assert failures(events).keys() == {0, 3} and all("another rate" in text for text in failures(events).values())
    assert {event.model for event in events if isinstance(event, Rows)} == set(range(len(models))) - {0, 3}


def _index_net(seed: int, reach: int) -> nets.Made:
    """Takes column `reach` of a table with 6 columns: 6 and above fail while running."""

    def build(b: Builder, x: Value, w: Callable[..., Value]) -> Value:
        y = b.emit("linear", [x, w("one", 6, 6), w("bias", 6)])
        return b.emit("linear", [b.emit("take", [y, b.weight(torch.tensor([reach, 0]))], {"dim": 1}), w("two", 3, 2)])

    return nets.one(build, Input("x", "float32", (None, 6)), seed)


@pytest.mark.parametrize("bad", [0, 3, 6])
def test_one_bad_member_of_a_merged_group_is_named_and_its_siblings_finish(bad: int) -> None:
    models = [_index_net(seed, 9 if seed == bad else seed % 6) for seed in range(7)]
    inputs = nets.samples(models[0][0], 10)
    bench = Bench(models, inputs, MERGED)
    _forced(bench, 8)
    events = list(bench.runner().run(bench.feed, 0, 10))
    assert list(failures(events)) == [bad]
    assert "(take)" in failures(events)[bad]
    good = [model for place, model in enumerate(models) if place != bad]
    found = joined(events, 7)
    assert found.pop(bad) == {}
    assert_close(found, nets.loop(good, inputs, 10))


def test_nan_in_one_member_does_not_reach_its_siblings() -> None:
    models = [nets.net(nets.RESNET, seed) for seed in range(4)]
    program, tensors = models[2]
    models[2] = program, {key: torch.full_like(tensor, torch.nan) for key, tensor in tensors.items()}
    inputs = nets.samples(program, 5)
    bench = Bench(models, inputs, MERGED)
    _forced(bench, 4)
    found = bench.all_rows()
    assert found[2]["logits"].isnan().all()
    assert_close([found[place] for place in (0, 1, 3)], nets.loop([models[place] for place in (0, 1, 3)], inputs, 5))


def test_out_of_memory_in_a_group_splits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [nets.net(nets.MLP, seed) for seed in range(6)]
    inputs = nets.samples(models[0][0], 5)
    bench = Bench(models, inputs, MERGED)
    _forced(bench, 8)
    run, widths = Code.run, []

    def short(self: Code, given: list[object], weights: list[torch.Tensor]) -> list[object]:
        if self.width > 2:
            raise MemoryError("planted")
        widths.append(self.width)
        return run(self, given, weights)

    monkeypatch.setattr(Code, "run", short)
    assert_close(bench.all_rows(), nets.loop(models, inputs, 5))
    assert sorted(widths) == [1, 1, 2, 2]


def test_a_defect_of_compiled_code_falls_back_to_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [nets.net(nets.RESNET, seed, ("linear",)) for seed in range(3)]
    inputs = nets.samples(models[0][0], 5)
    bench = Bench(models, inputs, PLAIN)

    def broken(self: Code, given: list[object], weights: list[torch.Tensor]) -> list[object]:
        raise ExecutionFailed("planted")

    monkeypatch.setattr(Code, "run", broken)
    assert_equal(bench.all_rows(), nets.loop(models, inputs, 8))


def test_results_in_the_cache_are_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    models = _mix()
    inputs = nets.samples(models[0][0], 16)
    cache = ResultCache(1 << 20)
    first = Bench(models[:4], inputs, PLAIN)
    list(first.runner(cache=cache).run(first.feed, 0, 16))
    calls = _count(monkeypatch)
    second = Bench(models[:5], inputs, PLAIN)
    events = list(second.runner(cache=cache).run(second.feed, 0, 16))
    assert_equal(joined(events, 5), nets.loop(models[:5], inputs, 8))
    again = Bench(models[4:5], inputs, PLAIN)
    calls_alone = calls.copy()
    calls.clear()
    list(again.runner().run(again.feed, 0, 16))
    assert 0 < sum(calls_alone) <= sum(calls)


def test_a_full_cache_gives_up_what_is_cheapest_to_make_again() -> None:
    cache = ResultCache(100 * 4)
    cache.put("dear", torch.zeros(50), ms=50.0)
    cache.put("cheap", torch.zeros(50), ms=1.0)
    cache.put("new", torch.zeros(50), ms=20.0)
    assert "dear" in cache
    assert "cheap" not in cache
    assert "new" in cache
    cache.put("large", torch.zeros(101), ms=1e9)
    assert "large" not in cache
    assert cache.bytes == 400
    cache.clear()
    assert cache.get("dear") is None
