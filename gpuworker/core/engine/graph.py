"""Graph: the operators of many models as one hash-consed graph. Equal computations are one node, whoever asks for them.

A value is an integer: node * RESULTS + result. A weight is ~w. Nodes stand in the order in which they can run. Keys that
hold beyond this graph are hashed only where they are asked for: a plan over thousands of models needs few of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpuworker.core.engine.operators import FEED
from gpuworker.core.engine.recipes import Slot
from gpuworker.core.engine.templates import RESULTS, Kind, Model, TemplateStep

_COMMUTES = frozenset({"add", "mul", "minimum", "maximum"})
Args = tuple[int | None, ...]


@dataclass(slots=True, eq=False)
class Node:
    """class_number: equal for nodes that compute the same but for the contents of weights. members: bit m = model m needs it."""

    kind: Kind
    args: Args
    step: TemplateStep
    class_number: int
    members: int = 0


class Weight(NamedTuple):
    """key: of its contents, or of the recipe and its sources. model, number: the slot it can be made from. slot: its facts."""

    key: str
    model: int
    number: int
    slot: Slot


class Graph:
    """Built by adding models one after the other; the order changes no key and no result. elements: of all weights."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.weights: list[Weight] = []
        self.models: list[Model] = []
        self.outputs: list[tuple[tuple[str, int], ...]] = []
        self.feeds: dict[str, int] = {}
        self.fed: list[tuple[str, ...]] = []
        self.steps_added = 0
        self.elements = 0
        self._known: dict[tuple[Kind, Args], int] = {}
        self._classes: dict[tuple[object, ...], int] = {}
        self._weights: dict[str, int] = {}
        self._shapes: dict[tuple[str, tuple[int, ...]], int] = {}
        self._weight_class: list[int] = []
        self._keys: dict[int, bytes] = {}
        self._class_keys: dict[int, bytes] = {}

    def add(self, model: Model, feeds: Sequence[str]) -> int:
        """Add a model and give its number. feeds: for each input a key of the data it is fed; equal keys, equal data."""
        number, template = len(self.models), model.template
        self.models.append(model)
        bit = 1 << number
        weights = self._weights_of(model, number)
        nodes, known = self.nodes, self._known
        made = [self._feed(key, step) for key, step in zip(feeds, template.steps, strict=False)]
        for node in made:
            nodes[node].members |= bit
        for step in template.steps[len(made) :]:
            args: Args = tuple(
                [None if arg is None else weights[~arg] if arg < 0 else made[arg // RESULTS] * RESULTS + arg % RESULTS for arg in step.args]
            )
            if step.kind.name in _COMMUTES:
                args = self._sorted(args)
            identity = step.kind, args
            node = known.get(identity, -1)
            if node < 0:
                node = known[identity] = len(nodes)
                nodes.append(Node(step.kind, args, step, self._class_of(step.kind, args), bit))
            else:
                nodes[node].members |= bit
            made.append(node)
        self.steps_added += len(template.steps) - len(feeds)
        self.fed.append(tuple(feeds))
        self.outputs.append(tuple((name, made[value // RESULTS] * RESULTS + value % RESULTS) for name, value in template.outputs))
        return number

    def key(self, node: int) -> bytes:
        """Equal for equal results on equal feeds, in any graph and process."""
        return self._digest(node, self._keys, lambda weight: self.weights[weight].key)

    def class_key(self, node: int) -> bytes:
        """As `key`, blind to the contents of weights."""

        def shape(weight: int) -> str:
            slot = self.weights[weight].slot
            return f"{slot.dtype}{slot.shape}"

        return self._digest(node, self._class_keys, shape)

    def _weights_of(self, model: Model, number: int) -> list[int]:
        """~w for each slot."""
        found, known = [], self._weights
        for place, key in enumerate(model.slots):
            weight = known.get(key, -1)
            if weight < 0:
                weight = known[key] = len(self.weights)
                slot = model.template.slots[place]
                self.weights.append(Weight(key, number, place, slot))
                self.elements += slot.elements
                self._weight_class.append(~self._shapes.setdefault((slot.dtype, slot.shape), len(self._shapes)))
            found.append(~weight)
        return found

    def _feed(self, key: str, step: TemplateStep) -> int:
        found = self.feeds.get(key)
        if found is None:
            found = self.feeds[key] = len(self.nodes)
            self.nodes.append(Node(step.kind, (), step, self._classes.setdefault((FEED, key), len(self._classes))))
            self._keys[found] = self._class_keys[found] = hashlib.blake2b(f"{FEED}:{key}".encode(), digest_size=16).digest()
        return found

    def _class_of(self, kind: Kind, args: Args) -> int:
        nodes, weight_class = self.nodes, self._weight_class
        identity = (
            kind,
            *[
                None if arg is None else weight_class[~arg] if arg < 0 else nodes[arg // RESULTS].class_number * RESULTS + arg % RESULTS
                for arg in args
            ],
        )
        return self._classes.setdefault(identity, len(self._classes))

    def _digest(self, node: int, known: dict[int, bytes], weight_key: object) -> bytes:
        stack = [node]
        while stack:
            top = self.nodes[stack[-1]]
            waiting = [arg // RESULTS for arg in top.args if arg is not None and arg >= 0 and arg // RESULTS not in known]
            if stack[-1] in known or not waiting:
                number = stack.pop()
                if number not in known:
                    known[number] = self._hashed(top, known, weight_key)
            else:
                stack += waiting
        return known[node]

    def _hashed(self, node: Node, known: dict[int, bytes], weight_key: object) -> bytes:
        assert callable(weight_key)
        parts = [node.kind.digest]
        for arg in node.args:
            parts.append(
                b"-" if arg is None else str(weight_key(~arg)).encode() if arg < 0 else known[arg // RESULTS] + b"%d" % (arg % RESULTS)
            )
        return hashlib.blake2b(b"|".join(parts), digest_size=16).digest()

    def _sorted(self, args: Args) -> Args:
        """Operands of a commutative operator in an order that every format and every sibling agrees on."""
        one, other = args[:2]
        if one is None or other is None or one < 0 or other < 0:
            return args
        first, second = self.nodes[one // RESULTS].class_number, self.nodes[other // RESULTS].class_number
        return (other, one, *args[2:]) if (second, other) < (first, one) else args


def bits(members: int) -> list[int]:
    """The model numbers of a bitmap, ascending."""
    text = bin(members)[:1:-1]
    found, place = [], text.find("1")
    while place >= 0:
        found.append(place)
        place = text.find("1", place + 1)
    return found


def bitmap(models: Iterable[int]) -> int:
    """The bitmap of model numbers."""
    result = 0
    for model in models:
        result |= 1 << model
    return result
