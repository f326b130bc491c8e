"""Models planned and run as the product will: through `plan` and `PlanRunner`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from gpuworker.core.engine.code import Codes
from gpuworker.core.engine.cost import CostModel
from gpuworker.core.engine.events import Checkpoint, Event, Failed, Rows
from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.plan import Options, Plan
from gpuworker.core.engine.planner import plan
from gpuworker.core.engine.runner import PlanRunner
from gpuworker.core.engine.stages import Branch, branches
from tests.core.engine.nets import Made
from tests.core.engine.running import graph_of

Tensor = torch.Tensor


@dataclass
class Bench:
    """Some models, their graph and a plan for so many samples."""

    models: Sequence[Made]
    inputs: Mapping[str, Tensor]
    options: Options
    cost: CostModel = field(default_factory=lambda: CostModel("cpu"))
    codes: Codes = field(default_factory=Codes)

    def __post_init__(self) -> None:
        self.graph, self.store = graph_of(self.models, "exact" if self.options.layout == "plain" else "folded")
        self.branches: list[Branch] = branches(self.graph)
        self.length = next((x.shape[1] for x in self.inputs.values() if x.dim() == 2 and x.dtype == torch.int64), 0)
        self.plan = self.planned()

    def planned(self) -> Plan:
        samples = len(next(iter(self.inputs.values())))
        return plan(self.graph, self.branches, self.cost, self.codes, self.options, samples, self.length)

    def feed(self, key: str, start: int, stop: int) -> Tensor:
        return self.inputs[key][start:stop]

    def runner(self, **options: object) -> PlanRunner:
        return PlanRunner(self.graph, self.branches, self.plan, self.store.__getitem__, self.codes, **options)  # type: ignore[arg-type]

    def all_rows(self) -> list[dict[str, Tensor]]:
        """Outputs of every model over all samples."""
        samples = len(next(iter(self.inputs.values())))
        return joined(list(self.runner().run(self.feed, 0, samples)), len(self.models))


def joined(events: Sequence[Event], count: int) -> list[dict[str, Tensor]]:
    """Rows put together, model by model; asserts that no row came twice and none is missing before the last."""
    found: list[dict[str, list[Tensor]]] = [{} for _ in range(count)]
    end = [0] * count
    for event in events:
        if isinstance(event, Rows):
            assert event.start == end[event.model]
            end[event.model] = event.stop
            for name, value in event.outputs.items():
                assert len(value) == event.stop - event.start
                found[event.model].setdefault(name, []).append(value)
    return [{name: torch.cat(parts) for name, parts in named.items()} for named in found]


def failures(events: Sequence[Event]) -> dict[int, str]:
    return {event.model: event.error.text for event in events if isinstance(event, Failed)}


def checkpoints(events: Sequence[Event]) -> list[tuple[tuple[int, ...], int]]:
    return [(event.models, event.stop) for event in events if isinstance(event, Checkpoint)]


__all__ = ["Bench", "Graph", "checkpoints", "failures", "joined"]
