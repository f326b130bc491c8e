"""What a searcher asks of candidates, as a value that survives JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gpuworker.core.errors import UserError


class BadConstraints(UserError):
    """A constraint of the wrong type or out of range."""

    code = "bad_constraints"


@dataclass(frozen=True, slots=True)
class Constraints:
    """Empty tuples and None do not constrain.

    label_key: the label space (catalog.labels.label_key). device: name of a device (jobs.models.Device); latency and memory are those
    predicted for one sample there, without it those measured at publication.
    """

    label_key: str = ""
    licences: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    max_size_bytes: int | None = None
    max_latency_ms: float | None = None
    max_memory_bytes: int | None = None
    device: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Constraints:
        """Strict: unknown names, wrong types and values that exclude everything are errors that say so."""
        unknown = set(document) - set(cls.__dataclass_fields__)
        if unknown:
            raise BadConstraints(
                "Unknown constraint.", detail=", ".join(sorted(unknown)), fix=f"Known are: {', '.join(cls.__dataclass_fields__)}."
            )
        return cls(
            label_key=_text(document, "label_key"),
            licences=_texts(document, "licences"),
            tasks=_texts(document, "tasks"),
            teams=_texts(document, "teams"),
            max_size_bytes=_positive_int(document, "max_size_bytes"),
            max_latency_ms=_positive(document, "max_latency_ms"),
            max_memory_bytes=_positive_int(document, "max_memory_bytes"),
            device=_text(document, "device"),
        )


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name) or ""
    if not isinstance(value, str):
        raise BadConstraints(f"`{name}` must be text.", detail=f"Found {value!r}.")
    return value


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = document.get(name) or ()
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise BadConstraints(f"`{name}` must be a list of texts.", detail=f"Found {value!r}.")
    return tuple(value)


def _positive(document: Mapping[str, Any], name: str) -> float | None:
    value = document.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e18:
        raise BadConstraints(f"`{name}` must be a positive number.", detail=f"Found {value!r}.", fix="Leave it empty for no limit.")
    return float(value)


def _positive_int(document: Mapping[str, Any], name: str) -> int | None:
    value = _positive(document, name)
    return None if value is None else int(value)
