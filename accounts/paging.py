"""Cursor paging of pages that list the newest first. The cursor is the last id shown, so rows added meanwhile move nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import Model, QuerySet
from django.http import QueryDict

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class IdPage(Generic[Row]):
    """rows: newest first. older, newest: query strings of the next and the first page, "" where there is none."""

    rows: list[Row]
    older: str
    newest: str


def page_by_id(rows: QuerySet[Row], query: QueryDict, *, size: int = 50) -> IdPage[Row]:
    """Rows with id below `?before=`; anything but a number there is ignored. One query."""
    before = query.get("before", "")
    here = rows.order_by("-id")
    if before.isdecimal() and len(before) < 19:
        here = here.filter(id__lt=int(before))
    found = list(here[: size + 1])
    older = _with(query, before=str(found[size - 1].pk)) if len(found) > size else ""
    return IdPage(found[:size], older, _with(query, before="") if before else "")


def _with(query: QueryDict, *, before: str) -> str:
    changed = query.copy()
    changed.pop("before", None)
    if before:
        changed["before"] = before
    return "?" + changed.urlencode()
