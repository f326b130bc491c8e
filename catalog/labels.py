"""When two label spaces are the same: by name, whatever the order, letter case or outer spaces."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence


def canonical_label(label: str) -> str:
    """The form in which labels are compared."""
    return label.strip().casefold()


def label_key(labels: Sequence[str]) -> str:
    """Hex SHA-256 of the sorted canonical names: equal for equal label spaces."""
    names = sorted(canonical_label(label) for label in labels)
    return hashlib.sha256(json.dumps(names, ensure_ascii=False).encode()).hexdigest()


def label_columns(labels: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """For each of the wanted labels its place among `labels`. Raises KeyError for one that is not there."""
    place = {canonical_label(label): index for index, label in enumerate(labels)}
    return [place[canonical_label(label)] for label in wanted]
