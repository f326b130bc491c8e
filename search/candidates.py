"""The live count of a search form: who would be a candidate, who not and why, and what relaxing would bring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from accounts.models import User
from accounts.sizes import size_text
from catalog.models import ModelVersion
from search.constraints import Constraints
from search.models import SampleSet
from search.selection import Exclusion, Selection, select

# Constraint > name of its form field.
FIELDS: Mapping[str, str] = {
    "label_key": "label_key",
    "licences": "licences",
    "tasks": "tasks",
    "teams": "teams",
    "max_size_bytes": "max_size",
    "max_latency_ms": "max_latency_ms",
    "max_memory_bytes": "max_memory",
}
_MEASURES: Mapping[str, tuple[Callable[[ModelVersion], float | None], Callable[[float], str]]] = {
    "max_size_bytes": (lambda version: version.size_bytes, size_text),
    "max_latency_ms": (lambda version: version.latency_ms, lambda ms: f"{ms:.3g} ms"),
    "max_memory_bytes": (lambda version: version.memory_bytes, size_text),
}


@dataclass(frozen=True, slots=True)
class Relaxed:
    """What dropping one constraint would bring. nearest: the closest miss, in words, where there is a measure."""

    constraint: str
    field: str
    gained: int
    nearest: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """selection: as the search would make it. left_out: models not chosen. main: the reason that removed most,
    one that can be relaxed before one that cannot.

    relaxed: only where nothing is left, the constraint that brings most first.
    """

    selection: Selection
    left_out: int
    main: Exclusion | None
    relaxed: tuple[Relaxed, ...]


def outlook(user: User, sample_set: SampleSet, constraints: Constraints) -> Outlook:
    selection = select(user, sample_set, constraints)
    left_out = sum(item.count for item in selection.excluded)
    main = max(selection.excluded, key=lambda item: (bool(item.relax), item.count), default=None)
    relaxed = () if selection.chosen else _relaxed(user, sample_set, constraints)
    return Outlook(selection, left_out, main, relaxed)


def _relaxed(user: User, sample_set: SampleSet, constraints: Constraints) -> tuple[Relaxed, ...]:
    """Each active constraint alone, then all of them together where no single one helps."""
    empty = Constraints()
    found = []
    for field in fields(Constraints):
        name = field.name
        if getattr(constraints, name) == getattr(empty, name):
            continue
        gained = select(user, sample_set, replace(constraints, **{name: getattr(empty, name)})).chosen
        if gained:
            found.append(Relaxed(name, FIELDS[name], len(gained), _nearest(name, gained)))
    if not found and constraints != empty and (gained := select(user, sample_set, empty).chosen):
        found.append(Relaxed("", "", len(gained), ""))
    return tuple(sorted(found, key=lambda item: -item.gained))


def _nearest(name: str, gained: tuple[ModelVersion, ...]) -> str:
    if name not in _MEASURES:
        return ""
    value, text = _MEASURES[name]
    measured = [(found, version) for version in gained if (found := value(version)) is not None]
    if not measured:
        return ""
    least, version = min(measured, key=lambda pair: pair[0])
    return f"{version.model.title} with {text(least)}"
