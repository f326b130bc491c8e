"""Events of a search: rows with a sequence number per search, and a hint to the sockets after the commit.

A browser that has seen event k asks for what came after k; nothing depends on a hint arriving.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction
from django.db.models import F

from search.models import Candidate, Search, SearchEvent

log = logging.getLogger(__name__)

Kind = Literal[
    "queued", "started", "resumed", "prior", "planned", "candidate_failed", "candidate_retried", "rung", "finished", "stopped", "failed",
]  # fmt: skip
ENDS = ("finished", "stopped", "failed")


class Prior(TypedDict):
    """The prior order is known: nothing has been executed yet."""

    candidates: int
    seconds: float


class Planned(TypedDict):
    """How the candidates will run. seconds: predicted, with its 90 % interval; shared: share of the work done once for several of them."""

    candidates: int
    one_by_one: int
    seconds: float
    low: float
    high: float
    shared: float
    memory_bytes: int


class CandidateFailed(TypedDict):
    candidate: int
    title: str
    detail: str
    fix: str


class Rung(TypedDict):
    """Every live candidate has now seen `samples` samples. left: ids of those that left the race with this; their rows say why."""

    samples: int
    of: int
    left: list[int]


class Ended(TypedDict):
    """The final word; verdict as in Search.verdict."""

    verdict: dict[str, Any]


class Plain(TypedDict, total=False):
    by: str
    attempt: int
    candidates: int
    candidate: int
    title: str
    detail: str
    fix: str


Payload = Prior | Planned | CandidateFailed | Rung | Ended | Plain


def event_add(search: Search, kind: Kind, payload: Payload, *, rows: Iterable[int] = (), fields: Mapping[str, Any] | None = None) -> int:
    """Add the next event and mark the candidates it changed; returns its number.

    Must run in the transaction of the change it tells of. fields: further columns of the search to set in the same
    statement. The row lock of the update makes numbers gapless and events of one search strictly ordered.
    """
    Search.objects.filter(pk=search.pk).update(last_seq=F("last_seq") + 1, **(fields or {}))
    seq: int = Search.objects.values_list("last_seq", flat=True).get(pk=search.pk)
    search.last_seq = seq
    for name, value in (fields or {}).items():
        setattr(search, name, value)
    SearchEvent.objects.create(search=search, seq=seq, kind=kind, payload=payload)
    ids = list(rows)
    if ids:
        Candidate.objects.filter(search=search, pk__in=ids).update(updated_seq=seq)
    transaction.on_commit(lambda: _hint(search.pk, seq, final=kind in ENDS), robust=True)
    return seq


def group_of(search_id: int) -> str:
    return f"search.{search_id}"


def _hint(search_id: int, seq: int, *, final: bool) -> None:
    layer = get_channel_layer()
    if layer is not None:
        told = {"type": "search.changed", "search": search_id, "seq": seq, "final": final}
        async_to_sync(layer.group_send)(group_of(search_id), told)
