"""Template: a program's structure made canonical once, for every model that has it. Model: a template and its weights' keys."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gpuworker.core.engine.canonical import canonical
from gpuworker.core.engine.draft import Draft, Ref
from gpuworker.core.engine.folding import Folder, scalar_keys
from gpuworker.core.engine.operators import FEED, OPAQUE, gives_size
from gpuworker.core.engine.probe import NotProbed, Polynomial, Probed, evaluate, probe
from gpuworker.core.engine.recipes import Slot, slot_keys
from gpuworker.core.engine.work import work_of
from gpuworker.core.program.model import Program, json_value
from gpuworker.core.program.ops.kind import DTYPE_NAMES

Rules = Literal["exact", "folded"]
"""exact: results equal the program's own to the bit. folded: within rounding, and faster."""
ENGINE = 1
"""Part of every key: a change of any rewrite raises it."""
RESULTS = 4
"""Most results of one operator, so that a value can be one integer."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """An operator apart from its operands. Equal kinds are one object, so that comparing them is comparing identities."""

    name: str
    attributes: Mapping[str, Any]
    outputs: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class ValueFacts:
    """What is known of a value. dims: its sizes. item: bytes of an element. elements: how many. size: it is a plain integer.
    source: the value whose memory it looks into (-1: a weight's), None for memory of its own."""

    dims: tuple[Polynomial, ...]
    dtype: str
    item: int
    elements: Polynomial
    size: bool = False
    source: int | None = None

    @property
    def rank(self) -> int:
        return len(self.dims)

    def shape(self, samples: int, length: int) -> tuple[int, ...]:
        return tuple(round(evaluate(dim, samples, length)) for dim in self.dims)


_NOTHING = ValueFacts((), "", 0, (0.0, 0.0))


@dataclass(frozen=True, slots=True)
class TemplateStep:
    """args: value numbers (step * RESULTS + result; feeds are the first steps), ~slot for weights, None for what is left out.
    n_inputs: how many of them are inputs; the rest are sizes. operands, facts: what is known of arguments and results.
    work: (cost class, amounts as polynomials)."""

    kind: Kind
    args: tuple[int | None, ...]
    n_inputs: int
    operands: tuple[ValueFacts, ...]
    facts: tuple[ValueFacts, ...]
    work: tuple[tuple[str, tuple[Polynomial, ...]], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """steps: feeds first. outputs: (name, value number). opaque: nothing is known inside; the program runs as one step."""

    key: str
    rules: Rules
    steps: tuple[TemplateStep, ...]
    slots: tuple[Slot, ...]
    outputs: tuple[tuple[str, int], ...]
    feeds: tuple[str, ...]
    length_at: tuple[int, int] | None = None
    opaque: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One model of a plan. weights: content keys of the program's weights in order. slots: keys of the template's slots."""

    template: Template
    program: Program
    weights: tuple[str, ...]
    slots: tuple[str, ...]


class Templates:
    """All templates seen so far, by structure; kept by a worker from one plan to the next."""

    def __init__(self) -> None:
        self._known: dict[str, Template] = {}
        self._kinds: dict[str, Kind] = {}

    def model(self, program: Program, rules: Rules = "folded") -> Model:
        """The canonical model of a program. A structure not seen before costs a tenth of a second, a transformer half a second."""
        key = structure_key(program, rules)
        template = self._known.get(key)
        if template is None:
            template = self._known[key] = self._template(program, rules, key)
        weights = tuple(weight.key for weight in program.weights)
        return Model(template, program, weights, slot_keys(template.slots, weights))

    def kind(self, name: str, attributes: Mapping[str, Any], outputs: int, n_inputs: int = 0) -> Kind:
        text = json.dumps([ENGINE, name, {key: json_value(value) for key, value in attributes.items()}, outputs, n_inputs], sort_keys=True)
        found = self._kinds.get(text)
        if found is None:
            found = self._kinds[text] = Kind(name, attributes, outputs, hashlib.blake2b(text.encode(), digest_size=16).digest())
        return found

    def _template(self, program: Program, rules: Rules, key: str) -> Template:
        try:
            return self._analysed(program, rules, key)
        except NotProbed:
            return self._opaque(program, rules, key)

    def _analysed(self, program: Program, rules: Rules, key: str) -> Template:
        if program.fixed_batch is not None or any(not item.shape or item.shape[0] is not None for item in program.inputs):
            raise NotProbed("the program takes a fixed number of samples")
        draft = Draft.of(program)
        probed = probe(draft)
        canonical(draft, probed)
        probed = probe(draft, probed)
        if rules == "folded":
            # The template's identity holds the keys of 0-d weights, so that what is found by them holds for all its models.
            heads = [size for ref in probed.values if ref.kind == "v" and _is_tensor(probed, ref) and (size := _last(probed, ref))]
            Folder(draft, probed, scalar_keys(program, sorted(set(heads)))).run()
            probed = probe(draft, probed)
        if any(not _is_tensor(probed, ref) or ref.kind == "w" or probed.fixed(ref)[:1] != (None,) for _, ref in draft.outputs):
            raise NotProbed("an output has no row per sample")
        return self._written(draft, probed, rules, key)

    def _written(self, draft: Draft, probed: Probed, rules: Rules, key: str) -> Template:
        steps: list[TemplateStep] = []
        numbers: dict[Ref, int] = {}
        for place in range(len(draft.inputs)):
            numbers[Ref("x", place)] = len(steps) * RESULTS
            steps.append(TemplateStep(self.kind(FEED, {}, 1), (), 0, (), (_facts(probed, Ref("x", place), None),), ()))
        used: Counter[int] = Counter()
        for number in draft.order():
            step = draft.steps[number]
            assert step is not None
            operands = [*step.inputs, *step.sizes]
            args = tuple(None if ref is None else ~ref.number if ref.kind == "w" else numbers[ref] for ref in operands)
            used.update(ref.number for ref in operands if ref is not None and ref.kind == "w")
            made = [Ref("v", number, place) for place in range(step.outputs)]
            facts = tuple(_facts(probed, ref, _source(probed, ref, numbers)) for ref in made)
            numbers |= {ref: len(steps) * RESULTS + ref.result for ref in made}
            attributes = {name: _tuples(value) for name, value in step.attributes.items()}
            kind = self.kind(step.name, attributes, step.outputs, len(step.inputs))
            known = tuple(_NOTHING if ref is None else _facts(probed, ref, None) for ref in operands)
            work = _work(step.name, attributes, step.inputs, made, probed)
            steps.append(TemplateStep(kind, args, len(step.inputs), known, facts, work))
        kept, renumbered = _used_slots(draft.slots, used)
        steps = [
            replace(step, args=tuple(~renumbered[~arg] if arg is not None and arg < 0 else arg for arg in step.args)) for step in steps
        ]
        outputs = tuple((name, numbers[ref]) for name, ref in draft.outputs)
        return Template(key, rules, tuple(steps), kept, outputs, tuple(item.name for item in draft.inputs), _open_length(draft))

    def _opaque(self, program: Program, rules: Rules, key: str) -> Template:
        """One step that is the program. Weights are its slots; what it costs is found by running it."""
        feed = TemplateStep(self.kind(FEED, {}, 1), (), 0, (), (ValueFacts((), "float32", 4, (0.0, 0.0)),), ())
        slots = tuple(Slot(weight.dtype, weight.shape, place) for place, weight in enumerate(program.weights))
        count = len(program.inputs)
        args = (*(place * RESULTS for place in range(count)), *(~place for place in range(len(slots))))
        flops = float(sum(slot.elements for slot in slots))
        work = (("gemm", ((0.0, flops), (0.0, 0.0), (0.0, 0.0), (flops, 0.0), (0.0, 0.0))),) + (("light", ((0.0, 0.0), (0.0, 0.0))),) * len(
            program.ops
        )
        facts = (ValueFacts((), "float32", 4, (0.0, 64.0)),)
        # Results of an opaque step are a mapping, hence one value; `outputs` names the same value for all.
        kind = self.kind(OPAQUE, {"template": key}, 1, len(args))
        steps = (*(feed for _ in range(count)), TemplateStep(kind, args, len(args), (_NOTHING,) * len(args), facts, work))
        outputs = tuple((item.name, count * RESULTS) for item in program.outputs)
        return Template(key, rules, steps, slots, outputs, tuple(item.name for item in program.inputs), None, True)


def structure_key(program: Program, rules: Rules) -> str:
    """Equal for programs that differ in nothing but the contents of weights (0-d ones count: they are constants)."""
    document = [
        ENGINE,
        rules,
        program.opset,
        program.fixed_batch,
        [[item.name, item.dtype, item.shape] for item in program.inputs],
        [[weight.dtype, weight.shape, weight.key if not weight.shape else ""] for weight in program.weights],
        [
            [op.name, op.inputs, op.sizes, op.outputs, {key: json_value(value) for key, value in op.attributes.items()}]
            for op in program.ops
        ],
        [[output.name, output.value] for output in program.outputs],
    ]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _is_tensor(probed: Probed, ref: Ref) -> bool:
    return not isinstance(probed.values[ref][0], int)


def _last(probed: Probed, ref: Ref) -> int | None:
    shape = probed.fixed(ref)
    return shape[-1] if shape else None


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _facts(probed: Probed, ref: Ref, source: int | None) -> ValueFacts:
    if not _is_tensor(probed, ref):
        return ValueFacts((), "int64", 8, (0.0, 0.0), size=True)
    elements = probed.grid.fit([float(item.numel()) for item in probed.values[ref]])
    dims = tuple(probed.grid.fit([float(size) for size in sizes]) for sizes in zip(*probed.shapes(ref), strict=True))
    dtype = probed.dtype(ref)
    return ValueFacts(dims, DTYPE_NAMES[dtype], dtype.itemsize, elements, source=source)


def _source(probed: Probed, ref: Ref, numbers: Mapping[Ref, int]) -> int | None:
    holder = probed.sources.get(ref)
    return None if holder is None else -1 if holder.kind == "w" else numbers[holder]


def _work(
    name: str, attributes: Mapping[str, Any], inputs: Sequence[Ref | None], made: Sequence[Ref], probed: Probed
) -> tuple[tuple[str, tuple[Polynomial, ...]], ...]:
    if gives_size(name):
        return ()
    points = []
    for point in range(len(probed.grid.points)):
        shapes = [None if ref is None else tuple(probed.values[ref][point].shape) for ref in inputs]
        points.append(
            work_of(name, attributes, shapes, [tuple(probed.values[ref][point].shape) for ref in made], made[0] in probed.sources)
        )
    parts = []
    for place, (family, amounts) in enumerate(points[0]):
        parts.append(
            (family, tuple(probed.grid.fit([float(point[place][1][number]) for point in points]) for number in range(len(amounts))))
        )
    return tuple(parts)


def _used_slots(slots: Sequence[Slot], used: Counter[int]) -> tuple[tuple[Slot, ...], dict[int, int]]:
    """The slots that steps or recipes of used slots need, sources first, and their new numbers."""
    needed: set[int] = set()
    waiting = list(used)
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            recipe = slots[number].recipe
            waiting += [source for source in recipe.sources if source is not None] if recipe else []
    renumbered = {number: place for place, number in enumerate(sorted(needed))}
    kept = []
    for number in sorted(needed):
        slot = slots[number]
        if slot.recipe is not None:
            sources = tuple(None if source is None else renumbered[source] for source in slot.recipe.sources)
            slot = Slot(slot.dtype, slot.shape, None, type(slot.recipe)(slot.recipe.name, slot.recipe.options, sources))
        kept.append(slot)
    return tuple(kept), renumbered


def _open_length(draft: Draft) -> tuple[int, int] | None:
    """(input, dimension) whose size is the open length T."""
    for place, item in enumerate(draft.inputs):
        for dim, size in enumerate(item.shape[1:], start=1):
            if size is None:
                return place, dim
    return None
