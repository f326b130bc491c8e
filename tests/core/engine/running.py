"""Graphs of several models run form by form at a width of one's choice, without a planner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from gpuworker.core.engine.code import Codes, Sizes
from gpuworker.core.engine.execute import Group, Segment, Values
from gpuworker.core.engine.graph import Graph
from gpuworker.core.engine.kernels import Layout, Target
from gpuworker.core.engine.prepare import Prepared
from gpuworker.core.engine.stages import Branch, branches
from gpuworker.core.engine.templates import RESULTS, Rules, Templates
from tests.core.engine.nets import Made

Tensor = torch.Tensor
TEMPLATES = Templates()
"""One for all tests, as a worker has one for all searches."""
EXACT: tuple[Layout, Rules] = ("plain", "exact")
FAST: tuple[Layout, Rules] = ("fast", "folded")


@dataclass(frozen=True)
class Ran:
    """outputs: per model. branches: of the graph. ops: names of the operators that ran, one entry a call."""

    graph: Graph
    branches: list[Branch]
    outputs: list[dict[str, Tensor]]
    ops: list[str]


def graph_of(models: Sequence[Made], rules: Rules) -> tuple[Graph, dict[str, Tensor]]:
    """All inputs of equal name are fed the same."""
    graph = Graph()
    store: dict[str, Tensor] = {}
    for program, tensors in models:
        store |= tensors
        graph.add(TEMPLATES.model(program, rules), [item.name for item in program.inputs])
    return graph, store


def run_all(
    models: Sequence[Made], inputs: Mapping[str, Tensor], mode: tuple[Layout, Rules] = FAST, width: int = 1, whole: bool = False
) -> Ran:
    """whole: all stages of a form as one segment; otherwise each stage is a segment of its own."""
    layout, rules = mode
    graph, store = graph_of(models, rules)
    found = branches(graph)
    count = len(next(iter(inputs.values())))
    length = next((x.shape[1] for x in inputs.values() if x.dim() > 1), 0)
    prepared, codes = Prepared(graph, store.__getitem__, "cpu", 1 << 30), Codes()
    values: Values = {node * RESULTS: inputs[name] for name, node in graph.feeds.items()}
    ops: list[str] = []
    siblings: dict[tuple[int, tuple[int, ...]], list[Branch]] = {}
    for branch in found:
        siblings.setdefault((branch.form.number, branch.inputs), []).append(branch)
    for members in siblings.values():
        stages = members[0].form.stages
        segments = [Segment(0, stages, width)] if whole else [Segment(stage, stage + 1, width) for stage in range(stages)]
        group = Group(prepared, codes, Target("cpu", layout), Sizes(count, length), members, segments)
        for bound in group.run(values, frozenset()):
            ops += [trace.step.kind.name for trace in bound.code.traces]
    outputs = []
    for own in graph.outputs:
        named = {}
        for name, value in own:
            found_value = values[value]
            named[name] = found_value[name] if isinstance(found_value, Mapping) else found_value
        outputs.append(named)
    return Ran(graph, found, outputs, ops)


def assert_close(
    found: Sequence[Mapping[str, Tensor]], expected: Sequence[Mapping[str, Tensor]], rtol: float = 1e-5, atol: float = 1e-6
) -> None:
    """allclose, atol counted in units of the largest entry where that is above 1."""
    for one, other in zip(found, expected, strict=True):
        for name, reference in other.items():
            scale = max(1.0, float(reference.abs().max())) if reference.is_floating_point() and reference.numel() else 1.0
            torch.testing.assert_close(one[name], reference, rtol=rtol, atol=atol * scale, equal_nan=True)


def assert_equal(found: Sequence[Mapping[str, Tensor]], expected: Sequence[Mapping[str, Tensor]]) -> None:
    """Equal to the bit."""
    for one, other in zip(found, expected, strict=True):
        for name, reference in other.items():
            assert torch.equal(one[name], reference), f"{name}: differs by {(one[name] - reference).abs().max()}"
