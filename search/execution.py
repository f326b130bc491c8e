"""How the candidates of a search run as one, for people: parts of the plan, what they cost, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.models import Candidate, Search, SearchPlan

NAMED = 3
INSIDE = frozenset({"reshape", "permute", "unsqueeze", "squeeze", "expand", "slice", "flatten", "cast"})
"""Operators that only look at a value otherwise: left out of a part's name where it does anything else."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the plan. candidates: titles, by branch: branches of several share this work, several branches are siblings.

    width: how many siblings run as one. depth: how many parts come before it. reads: numbers of those it reads. predicted, actual:
    milliseconds for all samples, and so far; None before it began.
    """

    number: int
    name: str
    candidates: tuple[tuple[str, ...], ...]
    width: int
    depth: int
    reads: tuple[int, ...]
    predicted: float
    actual: float | None

    @property
    def serves(self) -> int:
        return sum(map(len, self.candidates))

    @property
    def shared(self) -> bool:
        """Whether several candidates get it from running once."""
        return any(len(titles) > 1 for titles in self.candidates)


@dataclass(frozen=True, slots=True)
class Cost:
    """One candidate: seconds alone, its share of the plan, and what it really took. alone, share: None where it is not in the plan."""

    title: str
    alone: float | None
    share: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Execution:
    """parts: in the order they run; hidden: further ones that are not told of. seconds: of all parts so far, None before the first.

    low, high: predicted 90 % interval; loop: predicted for one candidate after the other; piece: longest that cannot be interrupted;
    all in seconds. shared: share of the work saved by doing equal work once. memory: bytes.
    """

    parts: tuple[Part, ...]
    hidden: int
    costs: tuple[Cost, ...]
    one_by_one: tuple[str, ...]
    predicted: float
    low: float
    high: float
    loop: float
    seconds: float | None
    shared: float
    memory: int
    piece: float
    chunk: int
    device: str
    measured: bool

    @property
    def merged(self) -> int:
        """Parts in which siblings run as one."""
        return sum(part.width > 1 for part in self.parts)


def execution_of(search: Search) -> Execution | None:
    """None where nothing was planned. Two queries."""
    kept = SearchPlan.objects.filter(search=search).first()
    if kept is None:
        return None
    rows = list(Candidate.objects.filter(search=search).select_related("version__model").only("seconds", "version__model__title"))
    titles = {row.pk: str(row.version.model.title) for row in rows}
    predicted, planned = kept.plan["predicted"], [titles.get(pk, "") for pk in kept.candidates]
    alone = {pk: (one / 1000, share / 1000) for pk, (one, share) in zip(kept.candidates, kept.plan["candidates"], strict=True)}
    costs = [Cost(titles[row.pk], *alone.get(row.pk, (None, None)), row.seconds) for row in rows]
    return Execution(
        parts=_parts(kept, planned),
        hidden=len(kept.plan["parts"]) - len(kept.drawing),
        costs=tuple(sorted(costs, key=lambda cost: -(cost.share or 0.0))),
        one_by_one=tuple(titles[row.pk] for row in rows if row.pk not in alone),
        predicted=predicted["ms"] / 1000,
        low=predicted["low"] / 1000,
        high=predicted["high"] / 1000,
        loop=predicted["loop_ms"] / 1000,
        seconds=sum(kept.worked.values()) / 1000 if kept.worked else None,
        shared=predicted["shared"],
        memory=predicted["peak_bytes"] + predicted["weight_bytes"],
        piece=predicted["piece_ms"] / 1000,
        chunk=kept.plan["chunk"],
        device=kept.device,
        measured=kept.measured,
    )


def _parts(kept: SearchPlan, titles: Sequence[str]) -> tuple[Part, ...]:
    depth: dict[int, int] = {}
    found = []
    for drawn in kept.drawing:
        number, reads = int(drawn["part"]), tuple(drawn["reads"])
        depth[number] = 1 + max((depth.get(parent, 0) for parent in reads), default=-1)
        served = tuple(tuple(titles[model] for model in models) for models in drawn["models"])
        actual = kept.worked.get(str(number))
        found.append(Part(number, _name(drawn), served, drawn["width"], depth[number], reads, drawn["ms"], actual))
    return tuple(found)


def _name(drawn: Mapping[str, Any]) -> str:
    """Its most frequent operators: "conv ×6, linear"."""
    if drawn["opaque"]:
        return "the whole program"
    counts: Counter[str] = Counter()
    for name, count in drawn["operators"]:
        counts[name.rstrip("+").replace("_", " ")] += count
    telling = [(name, count) for name, count in counts.most_common() if name.replace(" ", "_") not in INSIDE] or counts.most_common()
    words = [f"{name} ×{count}" if count > 1 else name for name, count in telling[:NAMED]]
    return ", ".join(words) + (" …" if len(telling) > NAMED else "")
