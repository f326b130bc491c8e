"""The live count of a search form: who would be a candidate, who not and why, and what relaxing would bring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from accounts.models import User
from accounts.sizes import size_text
from catalog.models import ModelVersion
from search.constraints import Constraints
from search.costs import Costs, Expected, expected, samples_used
from search.models import SampleSet
from search.selection import Exclusion, Selection, latency_of, memory_of, select

# Constraint > name of its form field.
FIELDS: Mapping[str, str] = {
    "label_key": "label_key",
    "licences": "licences",
    "tasks": "tasks",
    "teams": "teams",
    "max_size_bytes": "max_size",
    "max_latency_ms": "max_latency_ms",
    "max_memory_bytes": "max_memory",
    "device": "device",
}
_MEASURES: Mapping[str, tuple[Callable[[ModelVersion, Constraints, Costs], float | None], Callable[[float], str]]] = {
    "max_size_bytes": (lambda version, constraints, costs: version.size_bytes, size_text),
    "max_latency_ms": (latency_of, lambda ms: f"{ms:.3g} ms"),
    "max_memory_bytes": (memory_of, size_text),
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

    relaxed: only where nothing is left, the constraint that brings most first. expected: what the run takes at most; None where nothing
    is predicted.
    """

    selection: Selection
    left_out: int
    main: Exclusion | None
    relaxed: tuple[Relaxed, ...]
    expected: Expected | None


def outlook(user: User, sample_set: SampleSet, constraints: Constraints, n_samples: int | None = None) -> Outlook:
    """n_samples: None for as many as a search may take."""
    selection = select(user, sample_set, constraints)
    left_out = sum(item.count for item in selection.excluded)
    main = max(selection.excluded, key=lambda item: (bool(item.relax), item.count), default=None)
    relaxed = () if selection.chosen else _relaxed(user, sample_set, constraints)
    takes = expected(selection.costs, selection.chosen, samples_used(sample_set, n_samples))
    return Outlook(selection, left_out, main, relaxed, takes)


def _relaxed(user: User, sample_set: SampleSet, constraints: Constraints) -> tuple[Relaxed, ...]:
    """Each active constraint alone, then all of them together where no single one helps."""
    empty = Constraints()
    found = []
    for field in fields(Constraints):
        name = field.name
        if getattr(constraints, name) == getattr(empty, name):
            continue
        looser = replace(constraints, **{name: getattr(empty, name)})
        gained = select(user, sample_set, looser)
        if gained.chosen:
            found.append(Relaxed(name, FIELDS[name], len(gained.chosen), _nearest(name, gained, looser)))
    if not found and constraints != empty and (all_of_them := select(user, sample_set, empty).chosen):
        found.append(Relaxed("", "", len(all_of_them), ""))
    return tuple(sorted(found, key=lambda item: -item.gained))


def _nearest(name: str, gained: Selection, constraints: Constraints) -> str:
    if name not in _MEASURES:
        return ""
    value, text = _MEASURES[name]
    each = ((value(version, constraints, gained.costs), version) for version in gained.chosen)
    measured = [(found, version) for found, version in each if found is not None]
    if not measured:
        return ""
    least, version = min(measured, key=lambda pair: pair[0])
    return f"{version.model.title} with {text(least)}"
