"""Parts that hang together: the pieces of a plan that can run through all chunks before the next one begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpuworker.core.engine.plan import Part
from gpuworker.core.engine.stages import Branch


@dataclass(frozen=True, slots=True)
class Tree:
    """parts: in the plan's order. models: those they serve, ascending."""

    parts: tuple[Part, ...]
    models: tuple[int, ...]


def trees(parts: Sequence[Part], branches: Sequence[Branch]) -> list[Tree]:
    """Parts joined by what they read from each other and by common models, in the order of their first.

    Weights are laid out once for all chunks of a tree, however little room there is for them.
    """
    part_of = {number: place for place, part in enumerate(parts) for number in part.branches}
    root = list(range(len(parts)))

    def find(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    first_with: dict[int, int] = {}
    for place, part in enumerate(parts):
        for number in part.branches:
            for parent in branches[number].parents:
                root[find(place)] = find(part_of[parent])
            for member in branches[number].members:
                root[find(place)] = find(first_with.setdefault(member, place))
    grouped: dict[int, list[int]] = {}
    for place in range(len(parts)):
        grouped.setdefault(find(place), []).append(place)
    found = []
    for places in sorted(grouped.values()):
        own = tuple(parts[place] for place in places)
        members = sorted({member for part in own for number in part.branches for member in branches[number].members})
        found.append(Tree(own, tuple(members)))
    return found
