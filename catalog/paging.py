"""Keyset paging of models by any column: stable with ties and with rows added meanwhile, and as fast on the last page as on the first."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from django.db.models import BigIntegerField, Case, CharField, F, FloatField, Q, Value, When
from django.db.models.functions import Cast, Coalesce, Concat, Lower
from django.utils.dateparse import parse_datetime

from catalog.errors import BadPage
from catalog.models import RegisteredModel, RegisteredModelQuerySet

Kind = Literal["text", "int", "float", "time"]
_BIG = 2**62


@dataclass(frozen=True, slots=True)
class SortColumn:
    """A column to order by. field: a path on RegisteredModel, or an annotation. down: its first click sorts descending."""

    key: str
    label: str
    field: str
    kind: Kind
    down: bool = False


SORTS: dict[str, SortColumn] = {
    column.key: column
    for column in (
        SortColumn("name", "Model", "title", "text"),
        SortColumn("team", "Team", "team__slug", "text"),
        SortColumn("task", "Task", "task", "text"),
        SortColumn("modality", "Modality", "modality", "text"),
        SortColumn("architecture", "Architecture", "architecture", "text"),
        SortColumn("labels", "Labels", "n_labels", "int"),
        SortColumn("parameters", "Parameters", "parameters", "int", True),
        SortColumn("size", "Size", "size_bytes", "int", True),
        SortColumn("latency", "Latency", "latency_ms", "float"),
        SortColumn("memory", "Memory", "published_version__memory_bytes", "int"),
        SortColumn("accuracy", "Self-reported accuracy", "accuracy", "float", True),
        SortColumn("licence", "Licence", "licence", "text"),
        SortColumn("updated", "Updated", "updated", "time", True),
        SortColumn("relevance", "Relevance", "relevance", "float", True),
    )
}

PREDICTED = {"latency": "device_ms", "memory": "device_bytes"}
"""Columns that a device has figures of its own for, as `RegisteredModelQuerySet.on_device` annotates them."""


@dataclass(frozen=True, slots=True)
class Sort:
    """A column and a direction; in an address `-parameters` is descending. device: whose predictions the column shows, 0 = none."""

    column: SortColumn
    descending: bool
    device: int = 0

    @property
    def text(self) -> str:
        """The order, for cursors: one device's is not another's."""
        return f"{'-' if self.descending else ''}{self.column.key}{f'@{self.device}' if self.device else ''}"


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in order; after and before are cursors of the neighbouring pages, "" at the ends."""

    rows: list[RegisteredModel]
    after: str
    before: str


def parse_sort(text: str, *, searching: bool, device: int | None = None) -> Sort:
    """Unknown columns fall back to relevance while searching, else to the newest first. device: whose predictions are shown."""
    key = text.removeprefix("-")
    if key not in SORTS or (key == "relevance" and not searching):
        return Sort(SORTS["relevance" if searching else "updated"], True)
    column = SORTS[key]
    if device is not None and key in PREDICTED:
        return Sort(replace(column, field=PREDICTED[key]), text.startswith("-"), device)
    return Sort(column, text.startswith("-"))


def page_of(models: RegisteredModelQuerySet, sort: Sort, *, after: str = "", before: str = "", size: int = 50) -> Page:
    """One page of the ordered models. Two models are never equal: the id decides ties. Raises BadPage for a foreign cursor."""
    backwards = bool(before) and not after
    keyed = models.annotate(sort_value=_expression(sort))
    if after or before:
        keyed = keyed.filter(_beyond(sort, before if backwards else after, backwards))
    down = sort.descending != backwards
    prefix = "-" if down else ""
    rows = list(keyed.order_by(f"{prefix}sort_value", f"{prefix}id")[: size + 1])
    more = len(rows) > size
    rows = rows[:size]
    if backwards:
        rows.reverse()
    has_next = bool(rows) and (more or backwards)
    has_previous = bool(rows) and (more if backwards else bool(after))
    return Page(rows, _cursor(sort, rows[-1]) if has_next else "", _cursor(sort, rows[0]) if has_previous else "")


def _expression(sort: Sort) -> Any:
    """The column as a value that is never null; unknown values come last in both directions."""
    field, kind = sort.column.field, sort.column.kind
    if kind == "text":
        empty, known = ("0", "1") if sort.descending else ("1", "0")
        flag = Case(When(**{field: ""}, then=Value(empty)), default=Value(known), output_field=CharField())
        return Concat(flag, Lower(field), output_field=CharField())
    if kind == "int":
        return Coalesce(F(field), Value(-1 if sort.descending else _BIG), output_field=BigIntegerField())
    if kind == "float":
        # ts_rank gives single precision; the cast makes the cursor's double compare equal to the column.
        return Coalesce(Cast(F(field), FloatField()), Value(-1.0 if sort.descending else 1e300), output_field=FloatField())
    return F(field)


def _beyond(sort: Sort, cursor: str, backwards: bool) -> Q:
    value, pk = _read(sort, cursor)
    way = "lt" if sort.descending != backwards else "gt"
    return Q(**{f"sort_value__{way}": value}) | Q(sort_value=value, **{f"id__{way}": pk})


def _cursor(sort: Sort, row: RegisteredModel) -> str:
    value = row.sort_value  # type: ignore[attr-defined]  # annotated by page_of
    plain = value.isoformat() if isinstance(value, datetime) else value
    return base64.urlsafe_b64encode(json.dumps([sort.text, plain, row.pk]).encode()).decode().rstrip("=")


def _read(sort: Sort, cursor: str) -> tuple[Any, int]:
    try:
        text, value, pk = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise _bad() from error
    if text != sort.text or isinstance(pk, bool) or not isinstance(pk, int) or not 0 <= pk < 2**63:
        raise _bad()
    return _value(sort.column.kind, value), pk


def _value(kind: Kind, value: Any) -> Any:
    if kind == "text" and isinstance(value, str) and "\0" not in value:
        return value
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    if kind == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if abs(value) <= 1e308 else 1e308
    if kind == "time" and isinstance(value, str):
        try:
            moment = parse_datetime(value)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return moment
    raise _bad()


def _bad() -> BadPage:
    return BadPage(
        "This page address does not belong to this list.",
        detail="Its cursor was made for another order.",
        fix="Start again from the first page.",
    )
