"""From the graph to branches and stages.

A branch holds all nodes with the same member models; members only shrink along edges, so branches form a graph without
cycles. Branches of the same form share one `Form`, cut into stages: pieces between two places where a single value is all
that is handed on. Whatever depends on the form alone is worked out once, however many models have it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from gpuworker.core.engine.graph import Args, Graph, bits
from gpuworker.core.engine.operators import WEIGHTED
from gpuworker.core.engine.templates import RESULTS, TemplateStep

Place = tuple[int, int]
Wire = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class StageForm:
    """One stage by places, (node, argument) or (node, result), nodes counted within the branch.

    inputs: where a value from outside the stage is first read. origins: for each of them ("x", input of the branch, 0) or
    ("v", node of the branch, result). outputs: results needed outside. weights: every argument that is a weight.
    wiring: per node, per argument: ("w", k, 0), ("x", k, 0), ("v", node of the stage, result) or None.
    """

    first: int
    steps: tuple[TemplateStep, ...]
    wiring: tuple[tuple[Wire | None, ...], ...]
    inputs: tuple[Place, ...]
    origins: tuple[Wire, ...]
    outputs: tuple[Place, ...]
    weights: tuple[Place, ...]
    code_key: str


@dataclass(slots=True, eq=False)
class Form:
    """What branches of one class have in common. number: equal for equal forms of one graph. inputs: (node, argument) where a
    value from outside the branch is first read. outputs: results that others read, or models give.

    cuts: where stages begin, and the number of nodes at the end; stage k is the nodes cuts[k] to cuts[k + 1].
    """

    number: int
    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]
    cuts: tuple[int, ...]
    make: Callable[[int, int], StageForm]
    _known: dict[tuple[int, int], StageForm] = field(default_factory=dict)

    @property
    def stages(self) -> int:
        return len(self.cuts) - 1

    def span(self, first: int, stop: int) -> StageForm:
        """Stages first to stop as one."""
        key = first, stop
        if key not in self._known:
            self._known[key] = self.make(self.cuts[first], self.cuts[stop])
        return self._known[key]


@dataclass(slots=True, eq=False)
class Branch:
    """members: model numbers, ascending. parents: branches it reads, each before it. inputs: values from outside, as its form says."""

    number: int
    members: tuple[int, ...]
    nodes: tuple[int, ...]
    form: Form
    inputs: tuple[int, ...]
    parents: tuple[int, ...] = ()
    children: list[int] = field(default_factory=list)

    def value(self, place: Place) -> int:
        """The value that result place[1] of node place[0] is."""
        return self.nodes[place[0]] * RESULTS + place[1]


def branches(graph: Graph) -> list[Branch]:
    """All branches, parents before children; feeds belong to none. Takes time in proportion to nodes and edges."""
    grouped: defaultdict[int, list[int]] = defaultdict(list)
    exported = {value for outputs in graph.outputs for _, value in outputs}
    border: dict[int, list[int]] = {}
    nodes, feeds = graph.nodes, set(graph.feeds.values())
    for number, node in enumerate(nodes):
        if number in feeds:
            continue
        members = node.members
        grouped[members].append(number)
        for place, arg in enumerate(node.args):
            if arg is not None and arg >= 0 and (arg // RESULTS in feeds or nodes[arg // RESULTS].members != members):
                exported.add(arg)
                border.setdefault(number, []).append(place)
    border_of = _Border(exported, {value // RESULTS for value in exported}, border)
    forms: dict[tuple[object, ...], Form] = {}
    owner: dict[int, int] = {}
    made: list[Branch] = []
    for members, own in sorted(grouped.items(), key=lambda item: (-item[0].bit_count(), item[1][0])):
        form = _form(graph, own, border_of, forms)
        inputs = tuple([_arg(nodes[own[place]].args, argument) for place, argument in form.inputs])
        branch = Branch(len(made), tuple(bits(members)), tuple(own), form, inputs)
        found = dict.fromkeys([owner[value // RESULTS] for value in inputs if value // RESULTS in owner])
        branch.parents = tuple(found)
        for parent in found:
            made[parent].children.append(branch.number)
        owner.update(dict.fromkeys(own, branch.number))
        made.append(branch)
    return made


def _arg(args: Args, number: int) -> int:
    arg = args[number]
    assert arg is not None
    return arg


@dataclass(frozen=True, slots=True)
class _Border:
    """exported: values read outside their branch. sources: the nodes that make them. arguments: per node those from outside its branch."""

    exported: set[int]
    sources: set[int]
    arguments: dict[int, list[int]]


def _form(graph: Graph, own: list[int], border: _Border, forms: dict[tuple[object, ...], Form]) -> Form:
    nodes = graph.nodes
    classes = [nodes[node].class_number for node in own]
    out = [place for place, node in enumerate(own) if node in border.sources]
    seen: dict[int, int] = {}
    entries = tuple(
        [
            (place, number, seen.setdefault(_arg(nodes[node].args, number), len(seen)))
            for place, node in enumerate(own)
            if node in border.arguments
            for number in border.arguments[node]
        ]
    )
    identity: tuple[object, ...] = (tuple(classes), tuple(out), entries)
    if len(set(classes)) != len(classes) or any(nodes[own[place]].kind.outputs > 1 for place in out):
        # Alike nodes within one branch: who reads whom must be said, too.
        places = {node: place for place, node in enumerate(own)}
        identity += (tuple(tuple(_wire(arg, places) for arg in nodes[node].args) for node in own),)
        identity += (tuple((place, value % RESULTS) for place in out for value in _values(graph, own[place]) if value in border.exported),)
    found = forms.get(identity)
    if found is None:
        found = forms[identity] = _new_form(graph, len(forms), own, border.exported)
    return found


def _wire(arg: int | None, places: dict[int, int]) -> tuple[int, int] | None:
    return None if arg is None or arg < 0 or arg // RESULTS not in places else (places[arg // RESULTS], arg % RESULTS)


def _new_form(graph: Graph, number: int, own: list[int], exported: set[int]) -> Form:
    places = {node: place for place, node in enumerate(own)}
    inputs: dict[int, Place] = {}
    for place, node in enumerate(own):
        for number_of, arg in enumerate(graph.nodes[node].args):
            if arg is not None and arg >= 0 and arg // RESULTS not in places:
                inputs.setdefault(arg, (place, number_of))
    ports = {arg: place for place, arg in enumerate(inputs)}
    make = partial(_stage, graph, own, places, ports, exported)
    outputs = tuple((place, value % RESULTS) for place, node in enumerate(own) for value in _values(graph, node) if value in exported)
    return Form(number, tuple(inputs.values()), outputs, _cuts(graph, own, places), make)


def _values(graph: Graph, node: int) -> range:
    return range(node * RESULTS, node * RESULTS + graph.nodes[node].kind.outputs)


def _cuts(graph: Graph, own: list[int], places: dict[int, int]) -> tuple[int, ...]:
    """Cut before an operator that begins new work, where only one value of the branch is still to be read."""
    readers = dict.fromkeys(own, 0)
    for node in own:
        for arg in graph.nodes[node].args:
            if arg is not None and arg >= 0 and arg // RESULTS in places:
                readers[arg // RESULTS] += 1
    cuts, live, heavy = [0], 0, False
    for place, node in enumerate(own):
        starts = graph.nodes[node].kind.name in WEIGHTED
        if starts and heavy and live == 1:
            cuts.append(place)
            heavy = False
        heavy = heavy or starts
        for arg in graph.nodes[node].args:
            if arg is not None and arg >= 0 and arg // RESULTS in places:
                readers[arg // RESULTS] -= 1
                live -= readers[arg // RESULTS] == 0
        live += readers[node] > 0
    return (*cuts, len(own))


def _stage(
    graph: Graph, own: list[int], places: dict[int, int], ports: dict[int, int], exported: set[int], first: int, stop: int
) -> StageForm:
    """The nodes first to stop of a branch. places: of its nodes. ports: numbers of the values it is given."""
    inputs: dict[int, tuple[int, Place]] = {}
    weights: list[Place] = []
    wiring = []
    for place in range(first, stop):
        wires: list[Wire | None] = []
        for number, arg in enumerate(graph.nodes[own[place]].args):
            if arg is None:
                wires.append(None)
            elif arg < 0:
                wires.append(("w", len(weights), 0))
                weights.append((place, number))
            elif first <= places.get(arg // RESULTS, -1) < stop:
                wires.append(("v", places[arg // RESULTS] - first, arg % RESULTS))
            else:
                wires.append(("x", inputs.setdefault(arg, (len(inputs), (place, number)))[0], 0))
        wiring.append(tuple(wires))
    later = {arg for place in range(stop, len(own)) for arg in graph.nodes[own[place]].args if arg is not None and arg >= 0}
    outputs = tuple(
        (place, value % RESULTS)
        for place in range(first, stop)
        for value in _values(graph, own[place])
        if value in exported or value in later
    )
    steps = tuple(graph.nodes[node].step for node in own[first:stop])
    slots = [graph.weights[~_arg(graph.nodes[own[place]].args, number)].slot for place, number in weights]
    text = [
        [(step.kind.digest.hex(), [(facts.dtype, facts.dims) for facts in (*step.operands, *step.facts)]) for step in steps],
        wiring,
        [[slot.dtype, slot.shape] for slot in slots],
        [(p - first, r) for p, r in outputs],
    ]
    key = hashlib.blake2b(repr(text).encode(), digest_size=16).hexdigest()
    origins = tuple(("x", ports[arg], 0) if arg in ports else ("v", places[arg // RESULTS], arg % RESULTS) for arg in inputs)
    return StageForm(first, steps, tuple(wiring), tuple(place for _, place in inputs.values()), origins, outputs, tuple(weights), key)
