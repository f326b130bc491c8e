"""What one model takes by itself: as the plan of it alone predicts, from a document that a stranger may have written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gpuworker.core.engine.code import Codes
from gpuworker.core.engine.cost import CostModel, Curve
from gpuworker.core.engine.footprint import BATCHES, Footprint, Unforeseen, footprint, forecasts
from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.kernels import Target
from gpuworker.core.engine.plan import Options, Plan
from gpuworker.core.engine.planner import plan
from gpuworker.core.engine.stages import branches
from gpuworker.core.engine.widths import piece_key
from gpuworker.core.program.keys import tensor_bytes
from tests.core.engine import nets
from tests.core.engine.running import TEMPLATES

TARGET = Target("cpu", "fast")
LENGTH = 10


def device(slow: float = 1.0) -> CostModel:
    """Each class has curves of its own, one of them never timed."""
    curves = {"gemm": ("flops", 2e-7), "conv": ("flops", 3e-7), "light": ("written", 4e-7), "piece": ("calls", 1e-3)}
    return CostModel("cpu", {name: Curve(1e-3 * slow, (((amount,), ms * slow),), 0.0, 0.2) for name, (amount, ms) in curves.items()})


def alone(made: nets.Made, cost: CostModel, samples: int) -> Plan:
    """The plan of a model by itself, in one chunk: nothing gains enough to do otherwise."""
    graph = Graph()
    graph.add(TEMPLATES.model(made[0]), [item.name for item in made[0].inputs])
    options = Options(chunk=samples, gain=1.0)
    return plan(graph, branches(graph), cost, Codes(), options, samples, LENGTH)


@pytest.mark.parametrize("family", nets.FAMILIES)
def test_a_forecast_is_what_the_plan_of_that_model_predicts(family: str) -> None:
    made, cost = nets.net(nets.FAMILIES[family]), device()
    found = footprint(made[0], LENGTH, TARGET)
    key = found.batches[0].pieces[0].key
    for seen in (0, 1, 3):  # runs that taught the device about the piece, with one sample and, the last time, with other widths
        if seen:
            cost.observe(piece_key(key, 1 if seen < 3 else 8, BATCHES[0] if seen < 3 else BATCHES[1]), 1.0, 1.0 + seen)
        for told, samples in zip(forecasts(found, cost), BATCHES, strict=True):
            predicted = alone(made, cost, samples).predicted
            assert told.samples == samples
            assert (told.ms, told.low, told.high) == pytest.approx((predicted.ms, predicted.low, predicted.high))
            weights = sum(len(tensor_bytes(tensor)) for tensor in made[1].values())
            assert told.memory_bytes == weights + predicted.weight_bytes + predicted.peak_bytes


def test_a_slower_device_takes_longer_and_a_batch_takes_less_for_each_sample() -> None:
    found = footprint(nets.net(nets.RESNET)[0], 0, TARGET)
    one, batch = forecasts(found, device())
    assert forecasts(found, device(3.0))[0].ms > 2 * one.ms
    assert one.ms < batch.ms < one.ms * batch.samples
    assert one.low < one.ms < one.high
    assert one.memory_bytes < batch.memory_bytes


def test_it_is_read_back_as_it_was() -> None:
    found = footprint(nets.net(nets.TRANSFORMER)[0], LENGTH, TARGET)
    text = json.dumps(found.to_json())
    assert Footprint.from_json(json.loads(text)) == found
    assert len(text) < 20_000


def test_more_layers_of_the_same_kind_take_no_more_room() -> None:
    sizes = [len(json.dumps(footprint(nets.net({**nets.TRANSFORMER, "layers": n})[0], LENGTH, TARGET).to_json())) for n in (4, 16)]
    assert sizes[1] < 1.1 * sizes[0]


def test_a_program_with_a_fixed_batch_is_not_foretold() -> None:
    program, _ = nets.net(nets.MLP)
    fixed = replace(program, fixed_batch=2, inputs=tuple(replace(item, shape=(2, *item.shape[1:])) for item in program.inputs))
    with pytest.raises(Unforeseen, match="as a whole"):
        footprint(fixed, 0, TARGET)


def _entry(document: dict[str, Any]) -> list[Any]:
    entry: list[Any] = document["batches"][0]["pieces"][0][1][0]
    return entry


def _set(place: int, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: _entry(document).__setitem__(place, value)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(version=99),
        lambda document: document.update(length=-1),
        lambda document: document.update(length=1.5),
        lambda document: document.update(batches={}),
        lambda document: document["batches"].pop(),
        lambda document: document["batches"][0].update(memory_bytes=10**30),
        lambda document: document["batches"][0].update(memory_bytes=True),
        lambda document: document["batches"][0]["pieces"][0].__setitem__(0, 7),
        lambda document: document["batches"][0]["pieces"][0].__setitem__(0, "k" * 101),
        _set(0, "magic"),
        _set(0, ["gemm"]),
        _set(1, [1.0]),
        _set(1, [math.nan] * 4),
        _set(1, [-1.0] * 4),
        _set(1, [10**400] * 4),
        _set(1, "4444"),
        _set(2, 0.5),
        _set(2, 10**9),
        _set(3, 10**9),
        lambda document: document["batches"][0]["pieces"][0][1].extend([_entry(document)] * 15_000 * 2),
        lambda document: document["batches"][1]["pieces"].extend(document["batches"][0]["pieces"] * 15_000),
    ],
)  # fmt: skip
def test_what_no_engine_writes_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    document = footprint(nets.net(nets.MLP)[0], 0, TARGET).to_json()
    Footprint.from_json(document)
    change(document)
    with pytest.raises(ValueError, match="."):
        Footprint.from_json(document)


@pytest.mark.parametrize("document", [None, 3, [], {}, {"version": 1}])
def test_what_is_no_footprint_at_all_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="footprint"):
        Footprint.from_json(document)
