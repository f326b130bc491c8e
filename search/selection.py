"""Which models a search considers, and why each of the others is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings

from accounts.models import User
from accounts.sizes import size_text
from catalog.models import ModelVersion
from gpuworker.core.compatibility import compatible
from gpuworker.core.specs import MODALITIES
from search.constraints import Constraints
from search.costs import Costs, costs_for, sandbox_bytes
from search.models import SampleSet

EXAMPLES = 20
TOO_LARGE = "worker_memory"
"""Key of the reason that a model cannot run on any worker, whatever is asked for."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Models left out for one reason. relax: the constraint to loosen, "" where none would help."""

    key: str
    sentence: str
    count: int
    examples: tuple[tuple[str, str], ...]
    relax: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """Label names that `count` compatible models share."""

    label_key: str
    labels: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Selection:
    """chosen: versions to run. label_spaces: of all models of the modality, largest first. label_key: the one searched. costs: what
    they are predicted to take."""

    chosen: tuple[ModelVersion, ...]
    excluded: tuple[Exclusion, ...]
    label_spaces: tuple[LabelSpace, ...]
    label_key: str
    costs: Costs

    @property
    def labels(self) -> tuple[str, ...]:
        return next((space.labels for space in self.label_spaces if space.label_key == self.label_key), ())


@dataclass(frozen=True, slots=True)
class _Rule:
    """One reason to leave a version out: `why` gives the particular cause, or None when it may stay."""

    key: str
    sentence: str
    relax: str
    why: Callable[[ModelVersion], str | None]


def select(user: User, sample_set: SampleSet, constraints: Constraints) -> Selection:
    """Candidates among the published models this person may see. Each left-out model counts under its first reason."""
    versions = list(
        ModelVersion.objects.searchable_by(user)
        .filter(model__modality=sample_set.modality)
        .select_related("model__team")
        .defer("program", "facts")
        .order_by("-model__accuracy", "pk")
    )
    elsewhere = ModelVersion.objects.searchable_by(user).exclude(model__modality=sample_set.modality).count()
    spaces = _label_spaces(versions, sample_set)
    label_key = constraints.label_key or (spaces[0].label_key if spaces else "")
    chosen: list[ModelVersion] = []
    left_out: dict[str, list[tuple[str, str]]] = {}
    costs = costs_for(versions, constraints.device)
    rules = _rules(sample_set, constraints, label_key, costs)
    for version in versions:
        for rule in rules:
            why = rule.why(version)
            if why is not None:
                left_out.setdefault(rule.key, []).append((str(version.model), why))
                break
        else:
            chosen.append(version)
    excluded = [
        Exclusion(rule.key, rule.sentence, len(left_out[rule.key]), tuple(left_out[rule.key][:EXAMPLES]), rule.relax)
        for rule in rules
        if rule.key in left_out
    ]
    if elsewhere:
        label = MODALITIES[sample_set.modality].label.lower() if sample_set.modality else "this kind of sample"
        excluded.append(Exclusion("modality", f"They do not take {label}", elsewhere, ()))
    limit = settings.SEARCH_MAX_CANDIDATES
    if len(chosen) > limit:
        rest = tuple((str(version.model), "") for version in chosen[limit : limit + EXAMPLES])
        excluded.append(Exclusion("limit", f"A search runs at most {limit} candidates", len(chosen) - limit, rest))
    return Selection(tuple(chosen[:limit]), tuple(excluded), spaces, label_key, costs)


def latency_of(version: ModelVersion, constraints: Constraints, costs: Costs) -> float | None:
    """Milliseconds for one sample: predicted for the device that was asked about, else measured at publication."""
    if not constraints.device:
        return version.latency_ms
    cost = costs.of(version, costs.asked)
    return cost.latency_ms if cost else None


def memory_of(version: ModelVersion, constraints: Constraints, costs: Costs) -> int | None:
    """Bytes, likewise."""
    if not constraints.device:
        return version.memory_bytes
    cost = costs.of(version, costs.asked)
    return cost.memory_bytes if cost else None


def _rules(sample_set: SampleSet, constraints: Constraints, label_key: str, costs: Costs) -> list[_Rule]:
    def unfit(version: ModelVersion) -> str | None:
        return compatible(sample_set.meta, version.spec.get("input", {}), version.spec.get("modality"))

    def labels(version: ModelVersion) -> str | None:
        return None if version.label_key == label_key else _labels_text(version.labels)

    def too_large(version: ModelVersion) -> str | None:
        """One that may do is tried: only what is known to be too large is left out."""
        need, limit = costs.worker_memory(version), sandbox_bytes()
        return f"{size_text(need)}, limit {size_text(limit)}" if need is not None and need > limit else None

    there = f" on {constraints.device}" if constraints.device else ""
    absent = f"no prediction for {constraints.device}" if constraints.device else "not measured"
    return [
        _Rule("input", "Their input does not fit these samples", "", unfit),
        _Rule("labels", "They decide between other labels", "label_key", labels),
        _Rule(
            "licence",
            "Their licence is not among those you allow",
            "licences",
            _not_in(constraints.licences, lambda v: v.model.licence, "no licence stated"),
        ),
        _Rule("task", "They were made for another task", "tasks", _not_in(constraints.tasks, lambda v: v.model.task, "no task stated")),
        _Rule("team", "They belong to other teams", "teams", _not_in(constraints.teams, lambda v: v.model.team.slug, "")),
        _Rule(
            "size",
            "They are larger than you allow",
            "max_size_bytes",
            _over(constraints.max_size_bytes, lambda v: v.size_bytes, size_text),
        ),
        _Rule(
            "latency",
            f"They are slower than you allow{there}",
            "max_latency_ms",
            _over(constraints.max_latency_ms, lambda v: latency_of(v, constraints, costs), lambda ms: f"{ms:.3g} ms", absent),
        ),
        _Rule(
            "memory",
            f"They need more memory than you allow{there}",
            "max_memory_bytes",
            _over(constraints.max_memory_bytes, lambda v: memory_of(v, constraints, costs), size_text, absent),
        ),
        _Rule(TOO_LARGE, "They need more memory than a worker gives a model", "", too_large),
    ]


def _not_in(allowed: tuple[str, ...], value: Callable[[ModelVersion], str], absent: str) -> Callable[[ModelVersion], str | None]:
    return lambda version: None if not allowed or value(version) in allowed else value(version) or absent


def _over(
    limit: float | None, value: Callable[[ModelVersion], float | None], text: Callable[[Any], str], absent: str = "not measured"
) -> Callable[[ModelVersion], str | None]:
    """Unknown counts as over: a promise cannot rest on a missing measurement."""

    def why(version: ModelVersion) -> str | None:
        if limit is None:
            return None
        found = value(version)
        if found is None:
            return absent
        return None if found <= limit else f"{text(found)}, limit {text(limit)}"

    return why


def _label_spaces(versions: Iterable[ModelVersion], sample_set: SampleSet) -> tuple[LabelSpace, ...]:
    """Label spaces of the models that can read these samples, the most frequent first, ties by name."""
    counts: Counter[str] = Counter()
    names: dict[str, tuple[str, ...]] = {}
    for version in versions:
        if compatible(sample_set.meta, version.spec.get("input", {}), version.spec.get("modality")) is None:
            counts[version.label_key] += 1
            names.setdefault(version.label_key, tuple(sorted(version.labels)))
    return tuple(LabelSpace(key, names[key], count) for key, count in sorted(counts.items(), key=lambda item: (-item[1], names[item[0]])))


def _labels_text(labels: list[str]) -> str:
    head = ", ".join(labels[:6])
    return head if len(labels) <= 6 else f"{head} and {len(labels) - 6} more"
