"""Many stored programs as one plan on the loaded samples, inside the sandbox: planned once, then run piece by piece.

A session holds at most one plan. `run_plan` comes back whenever some time has passed, so that its caller can save rows, look
whether anybody wants the end, and ask for more.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpuworker.core import input_spec
from gpuworker.core.engine import calibrate
from gpuworker.core.engine.code import Codes
from gpuworker.core.engine.cost import CostModel, fit
from gpuworker.core.engine.drawing import drawing
from gpuworker.core.engine.events import Event, Failed, Rows, Worked
from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.kernels import Target
from gpuworker.core.engine.plan import Options, Plan
from gpuworker.core.engine.planner import graph_key, plan, uncollected
from gpuworker.core.engine.runner import PlanRunner
from gpuworker.core.engine.stages import Branch, branches
from gpuworker.core.engine.templates import Rules, Templates
from gpuworker.core.errors import UserError
from gpuworker.core.input_spec import InputSpec
from gpuworker.core.program.execute import check_inputs
from gpuworker.core.program.model import Program
from gpuworker.core.protocols import SampleBatch
from gpuworker.core.sandbox.contract import Reply, Request, State
from gpuworker.core.work.execution import encoded, encoding_key, rows_of, tensors_of

PEEKED = 32  # samples that are encoded to look at the inputs' sizes


@dataclass
class _Feeds:
    """What the models of a plan are fed, each encoding made once for all models that want it."""

    state: State
    makers: dict[str, tuple[InputSpec, Program, str]] = field(default_factory=dict)

    def keys(self, spec: InputSpec, program: Program) -> list[str]:
        """For each input of the program the key of its data."""
        shared = encoding_key(spec, program)
        found = []
        for item in program.inputs:
            found.append(f"{shared}:{item.name}")
            self.makers.setdefault(found[-1], (spec, program, item.name))
        return found

    def __call__(self, key: str, start: int, stop: int) -> torch.Tensor:
        spec, program, name = self.makers[key]
        return _tensor(encoded(self.state, self.state["batch"], spec, program, start, stop)[name])


@dataclass
class _Planned:
    """models: for each of the plan's, its number in the request and its spec. known: corrections that `cost` came with."""

    models: list[tuple[int, InputSpec]]
    runner: PlanRunner
    cost: CostModel
    known: Mapping[str, tuple[float, int]]
    feeds: _Feeds
    events: Iterator[Event] = iter(())


@uncollected()
def make_plan(state: State, request: Request) -> Reply:
    """Plan models on the loaded samples.

    meta: models [{program, spec}], places of all their tensors, samples, options (of `Options`), cost (`CostModel` as JSON, or
    None), plan (of an earlier run on the same models, or None). files: the packs by name.
    Reply meta: plan, drawing, models (numbers in the order of the plan), refused [{model, title, detail, fix}]: those that cannot
    be fed these samples. Raises LimitExceeded when not even one sample at a time fits.
    """
    meta = request.meta
    options = Options(**meta["options"])
    cost = CostModel.from_json(meta["cost"]) if meta["cost"] else CostModel(options.device)
    tensors = tensors_of(request)
    feeds, graph, templates, codes = _Feeds(state), Graph(), Templates(), Codes()
    rules: Rules = "exact" if options.layout == "plain" else "folded"
    parsed = cache(input_spec.parse_text)  # a team's models share few specs, and checking one takes a millisecond
    length, taken, refused = 0, [], []
    for number, document in enumerate(meta["models"]):
        spec, program = parsed(json.dumps(document["spec"], sort_keys=True)), Program.from_json(document["program"])
        try:
            length = max(length, open_length(state, state["batch"], spec, program))
        except UserError as error:
            refused.append(_told(number, error))
            continue
        graph.add(templates.model(program, rules), feeds.keys(spec, program))
        taken.append((number, spec))
    found = branches(graph)
    made = _plan_of(meta["plan"], graph, found, cost, codes, options, int(meta["samples"]), length)
    runner = PlanRunner(graph, found, made, tensors.__getitem__, codes, cost=cost)
    state["planned"] = _Planned(taken, runner, cost, dict(cost.corrections), feeds)
    numbers = [number for number, _ in taken]
    return Reply({"plan": made.to_json(), "drawing": drawing(graph, found, made), "models": numbers, "refused": refused})


def run_plan(state: State, request: Request) -> Reply:
    """Go on with the plan of this session.

    meta: seconds after which to come back; begin: None to go on, or {start, stop, have (model > samples it has), gone (models
    that are not wanted any more)}, models by their numbers in the request of the plan.
    Reply meta: done; rows [{model, start, stop, ms}], whose log-probabilities (stop - start, C) float32 are array `r<place>`;
    failed [{model, title, detail, fix}]; worked [[part, ms]]; at the end also costs: the corrections learned.
    """
    planned: _Planned = state["planned"]
    begin = request.meta["begin"]
    if begin is not None:
        _begin(planned, begin)
    until = time.monotonic() + float(request.meta["seconds"])
    rows: defaultdict[int, list[tuple[Rows, NDArray[np.float32]]]] = defaultdict(list)
    failed: list[dict[str, Any]] = []
    worked: defaultdict[int, float] = defaultdict(float)
    done = True
    for event in planned.events:
        match event:
            case Rows(model):
                number, spec = planned.models[model]
                try:
                    rows[number].append((event, rows_of(event.outputs, spec).numpy()))
                except UserError as error:
                    planned.runner.drop([model])
                    failed.append(_told(number, error))
            case Failed(model, why):
                failed.append(_told(planned.models[model][0], why))
            case Worked(part, ms):
                worked[part] += ms
        if time.monotonic() > until:
            done = False
            break
    arrays: dict[str, NDArray[np.float32]] = {}
    told: list[dict[str, Any]] = []
    for number, own in rows.items():
        for run in _joined(own):
            arrays[f"r{len(told)}"] = np.concatenate([values for _, values in run])
            told.append({"model": number, "start": run[0][0].start, "stop": run[-1][0].stop, "ms": sum(event.ms for event, _ in run)})
    learned = planned.cost.corrections.items() - planned.known.items() if done else ()
    meta = {"done": done, "rows": told, "failed": failed, "worked": [[part, ms] for part, ms in worked.items()]}
    return Reply(meta | {"costs": {key: list(value) for key, value in learned}}, arrays)


def calibrate_costs(state: State, request: Request) -> Reply:
    """Time work on this device for a few more seconds. meta: seconds, device, layout, fit: whether to make a model of what this
    session has seen so far. Reply meta: seen (timed calls so far), cost (`CostModel` as JSON, or None)."""
    meta = request.meta
    target = Target(str(meta["device"]), meta["layout"])
    seen = state.setdefault("timed", [])
    if "sweep" not in state:
        state["sweep"] = calibrate.sweep(target, seconds=float("inf"))
    until = time.monotonic() + float(meta["seconds"])
    while time.monotonic() < until:
        seen.append(next(state["sweep"]))
    return Reply({"seen": len(seen), "cost": fit(target.device, seen).to_json() if meta["fit"] else None})


def warm_up() -> None:
    """Load what the analysis of programs loads late."""
    calibrate.warm_up()


def _begin(planned: _Planned, begin: Mapping[str, Any]) -> None:
    places = {number: place for place, (number, _) in enumerate(planned.models)}
    planned.runner.drop([places[number] for number in begin["gone"] if number in places])
    have = {places[int(number)]: int(samples) for number, samples in begin["have"].items() if int(number) in places}
    planned.events = planned.runner.run(planned.feeds, int(begin["start"]), int(begin["stop"]), have)


def _plan_of(
    stored: Mapping[str, Any] | None,
    graph: Graph,
    found: Sequence[Branch],
    cost: CostModel,
    codes: Codes,
    options: Options,
    samples: int,
    length: int,
) -> Plan:
    """The stored plan where it is one for these models on such a device, so that a run that is taken up again goes the same way."""
    if stored is not None:
        kept = Plan.from_json(stored)
        if (kept.key, kept.device, kept.layout, kept.samples) == (graph_key(graph), options.device, options.layout, samples):
            return kept
    return plan(graph, found, cost, codes, options, samples, length)


def open_length(state: State, batch: SampleBatch, spec: InputSpec, program: Program) -> int:
    """The longest open size of the inputs, 0 where none is open. Raises UserError when they do not fit the model."""
    seen = encoded(state, batch, spec, program, 0, min(PEEKED, batch.n))
    if program.fixed_batch is None:
        check_inputs(program, {name: _tensor(array) for name, array in seen.items()})
    sizes = [seen[item.name].shape[dim] for item in program.inputs for dim, size in enumerate(item.shape) if dim and size is None]
    return max(sizes, default=0)


def _joined(own: Sequence[tuple[Rows, NDArray[np.float32]]]) -> list[list[tuple[Rows, NDArray[np.float32]]]]:
    """Runs without a gap."""
    runs: list[list[tuple[Rows, NDArray[np.float32]]]] = []
    for item in own:
        if runs and runs[-1][-1][0].stop == item[0].start:
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


def _told(number: int, error: UserError) -> dict[str, Any]:
    return {"model": number, "title": error.title, "detail": error.detail, "fix": error.fix}


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
