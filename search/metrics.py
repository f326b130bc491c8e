"""What a search predicts: the metric its owner chose, stored by label names, as the core takes it, and in words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from catalog.labels import canonical_label
from catalog.probes import canonical_order
from gpuworker.core.metrics import ACCURACY, Metric
from search.models import Search

CHOICES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "f1": "F1 of one label",
    "cost": "saved cost",
}
MOST_LABELS = 200  # of a cost matrix


def metric_of(stored: Mapping[str, Any], labels: Sequence[str]) -> Metric:
    """{} or {kind}, with `label` for f1, with `labels` and `costs` for cost (a row for each true label, a column for each answer).

    labels: of the search; label and cost matrix are brought into their order. Raises ValueError for what does not fit them.
    """
    kind = stored.get("kind", "accuracy")
    if kind not in CHOICES:
        raise ValueError(f"the metric must be one of {', '.join(CHOICES)}, found {kind!r}")
    if kind == "f1":
        return Metric("f1", label=_place(stored.get("label", ""), labels))
    if kind == "cost":
        return Metric("cost", costs=_costs(stored, labels))
    return ACCURACY if kind == "accuracy" else Metric(kind)


def metric_document(metric: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """What is stored with a search, only what its kind needs. Raises ValueError as `metric_of` does."""
    found = metric_of(metric, labels)
    if found == ACCURACY:
        return {}
    wanted = {"f1": ("kind", "label"), "cost": ("kind", "labels", "costs")}.get(found.kind, ("kind",))
    return {name: metric[name] for name in wanted}


def calibration_key(stored: Mapping[str, Any]) -> str:
    """Under which `ProbeSetVersion.calibration` holds the table of this metric. A cost matrix goes by its digest, in whatever order it
    names the labels."""
    kind = stored.get("kind", "accuracy")
    if kind == "cost":
        names = canonical_order(stored["labels"])
        return f"cost:{hashlib.sha256(repr((names, _costs(stored, names))).encode()).hexdigest()[:8]}"
    return f"f1:{canonical_label(stored['label'])}" if kind == "f1" else str(kind)


def metric_name(stored: Mapping[str, Any]) -> str:
    """As in a sentence: "predicted F1 of match"."""
    kind = stored.get("kind", "accuracy")
    return f"F1 of {stored['label']}" if kind == "f1" else CHOICES[kind]


def predicted_name(search: Search) -> str:
    """What the predictions on the board speak of: without labelled probes that is accuracy, whatever was chosen."""
    told = search.verdict.get("metric")
    if told:
        return str(told)
    return metric_name({} if search.probes and not search.probes.get("digest") else search.metric)


def _place(label: str, labels: Sequence[str]) -> int:
    names = [canonical_label(name) for name in labels]
    if canonical_label(label) not in names:
        raise ValueError(f"F1 needs one of the labels {', '.join(labels[:20])}, found {label!r}")
    return names.index(canonical_label(label))


def _costs(stored: Mapping[str, Any], labels: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    given = [canonical_label(name) for name in stored.get("labels", [])]
    costs = stored.get("costs", [])
    if sorted(given) != sorted(canonical_label(name) for name in labels):
        raise ValueError(f"a cost matrix names the labels {', '.join(labels[:20])}, each once, in `labels`")
    if len(costs) != len(given) or any(len(row) != len(given) for row in costs):
        raise ValueError(f"costs must be {len(given)} rows of {len(given)} numbers")
    order = [given.index(canonical_label(name)) for name in labels]
    return tuple(tuple(float(costs[row][column]) for column in order) for row in order)
