"""The engine and its peers: functions that run all models of a workload once on the same samples."""

from __future__ import annotations

import copy
import multiprocessing
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench.engine.networks import Network
from gpuworker.core.engine.code import Codes
from gpuworker.core.engine.cost import CostModel
from gpuworker.core.engine.events import Rows
from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.plan import Options, Plan
from gpuworker.core.engine.planner import plan
from gpuworker.core.engine.runner import PlanRunner
from gpuworker.core.engine.stages import branches
from gpuworker.core.engine.templates import Templates

Tensor = torch.Tensor
Run = Callable[[], list[Tensor]]
TEMPLATES = Templates()
"""Kept as a worker keeps them: a structure is analysed once."""


@dataclass
class Workload:
    """networks: those that read the same input carry its name. inputs: (N, ...) by name. chunk: most samples at once, for all."""

    name: str
    networks: Sequence[Network]
    inputs: Sequence[str]
    samples: Mapping[str, Tensor]
    chunk: int = 256

    @property
    def count(self) -> int:
        return len(next(iter(self.samples.values())))


@dataclass
class Engine:
    """The engine as a worker uses it: codes and costs stay from plan to plan."""

    cost: CostModel
    device: str = "cpu"
    codes: Codes = field(default_factory=Codes)

    def prepare(self, workload: Workload, budget: int = 2 << 30) -> tuple[Run, Run, Plan]:
        """Plan, run and plan again, as a worker has done by its second search: (runs that plan, runs the first, which curves alone gave,
        the second plan)."""
        graph = Graph()
        store: dict[str, Tensor] = {}
        for one, name in zip(workload.networks, workload.inputs, strict=True):
            store.update(one.tensors)
            graph.add(TEMPLATES.model(one.program, "folded"), [name])
        found = branches(graph)
        options = Options(device=self.device, chunk=workload.chunk, budget=budget)

        def feed(name: str, start: int, stop: int) -> Tensor:
            return workload.samples[name][start:stop]

        def ready() -> tuple[PlanRunner, Plan]:
            made = plan(graph, found, self.cost, self.codes, options, workload.count)
            return PlanRunner(graph, found, made, store.__getitem__, self.codes, cost=self.cost), made

        def once(runner: PlanRunner) -> list[Tensor]:
            rows: list[list[Tensor]] = [[] for _ in workload.networks]
            for event in runner.run(feed, 0, workload.count):
                if isinstance(event, Rows):
                    rows[event.model].append(event.outputs["y"])
            return [part[0] if len(part) == 1 else torch.cat(part) for part in rows]

        first, _ = ready()
        for _ in range(2):  # a first run of a piece lays out weights and teaches nothing
            torch.zeros(1 << 24)  # other work came between: no weight is in a cache any more
            once(first)
        second, made = ready()
        once(second)
        return lambda: once(second), lambda: once(first), made


def _chunks(workload: Workload, name: str) -> list[Tensor]:
    return list(torch.split(workload.samples[name], workload.chunk))


def _each(modules: Sequence[nn.Module], workload: Workload, turn: Callable[[Tensor], Tensor] = lambda x: x) -> Run:
    @torch.inference_mode()
    def run() -> list[Tensor]:
        return [
            torch.cat([module(turn(x)) for x in _chunks(workload, name)]) for module, name in zip(modules, workload.inputs, strict=True)
        ]

    return run


def eager(workload: Workload) -> Run:
    """One module after the other."""
    return _each([one.module for one in workload.networks], workload)


def folded(workload: Workload) -> Run:
    """Batch normalisation folded into convolutions, weights and images channels-last."""
    modules = [_folded(one.module) for one in workload.networks]
    return _each(modules, workload, lambda x: x.to(memory_format=torch.channels_last) if x.dim() == 4 else x)


def _folded(module: nn.Module) -> nn.Module:
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        names = list(dict(parent.named_children()))
        for one, other in zip(names[:-1], names[1:], strict=True):
            conv, norm = getattr(parent, one), getattr(parent, other)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, one, fuse_conv_bn_eval(conv, norm))
                setattr(parent, other, nn.Identity())
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def compiled(workload: Workload) -> Run:
    """`torch.compile` with weights as inputs: one compilation for each architecture. Raises RuntimeError where there is no compiler."""
    if shutil.which("gcc") is None and shutil.which("clang") is None:
        raise RuntimeError("no C compiler on this machine")
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = 64  # all architectures and chunk sizes of a workload count as one function's
    calls: dict[str, Callable[..., Tensor]] = {}
    rows = []
    for one, name in zip(workload.networks, workload.inputs, strict=True):
        shape = f"{one.module}"
        if shape not in calls:
            base = copy.deepcopy(one.module)

            def call(state: dict[str, Tensor], x: Tensor, base: nn.Module = base) -> Tensor:
                result: Tensor = functional_call(base, state, (x,))
                return result

            calls[shape] = torch.compile(call, dynamic=False)
        rows.append((calls[shape], dict(one.module.state_dict()), name))

    @torch.no_grad()
    def run() -> list[Tensor]:
        return [torch.cat([call(state, x) for x in _chunks(workload, name)]) for call, state, name in rows]

    run()
    return run


def vmapped(workload: Workload) -> Run:
    """`torch.vmap` over stacked weights, each architecture by itself. Raises RuntimeError where it has no rule."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, (one, name) in enumerate(zip(workload.networks, workload.inputs, strict=True)):
        groups.setdefault((f"{one.module}", name), []).append(place)
    ready = []
    for (_, name), places in groups.items():
        modules = [workload.networks[place].module for place in places]
        base = copy.deepcopy(modules[0]).to("meta")
        ready.append((places, name, base, stack_module_state(modules)))

    @torch.inference_mode()
    def run() -> list[Tensor]:
        found: list[Tensor] = [torch.empty(0)] * len(workload.networks)
        for places, name, base, (parameters, buffers) in ready:

            def call(p: dict[str, Tensor], b: dict[str, Tensor], x: Tensor, base: nn.Module = base) -> Tensor:
                result: Tensor = functional_call(base, (p, b), (x,))
                return result

            parts = [vmap(call, in_dims=(0, 0, None))(parameters, buffers, x) for x in _chunks(workload, name)]
            for place, rows in zip(places, torch.cat(parts, 1), strict=True):
                found[place] = rows
        return found

    with warnings.catch_warnings():
        # Attention without a batching rule is told once; that it is slow is what the row shows.
        warnings.simplefilter("ignore")
        run()
    return run


def process_seconds(workload: Workload) -> float:
    """Wall seconds of a fresh process that takes over one model, runs it, and ends: per model, model files apart."""
    context = multiprocessing.get_context("spawn")
    started = time.perf_counter()
    child = context.Process(target=_child, args=(workload.networks[0].module, workload.samples[workload.inputs[0]]))
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"the process ended with code {child.exitcode}")
    return time.perf_counter() - started


def _child(module: nn.Module, x: Tensor) -> None:
    torch.set_num_threads(1)
    with torch.inference_mode():
        module(x)


PEERS: Mapping[str, Callable[[Workload], Run]] = {"eager": eager, "folded": folded, "compiled": compiled, "vmap": vmapped}
UNMERGED = ("eager", "folded", "compiled")
