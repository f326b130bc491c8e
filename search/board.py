"""The board as the browser gets it: the same message over the socket, by polling, and on first paint."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from django.contrib.auth.models import AnonymousUser
from django.db.models import Count
from django.template.loader import render_to_string

from accounts.models import User
from jobs.services import job_waiting_reason
from search.access import search_for_user
from search.models import Candidate, CandidateState, Search, SearchState
from search.rows import board_candidates
from search.services import search_job


class BoardUpdate(TypedDict):
    """rows: candidate id > rendered row, those changed after the number asked for. order: all ids, best first."""

    type: Literal["snapshot", "update"]
    seq: int
    header: str
    rows: dict[str, str]
    order: list[str]
    summary: str
    final: bool


def board_update(user: User | AnonymousUser, search_id: int, after: int = 0) -> BoardUpdate:
    """What a browser that has seen event `after` must still get. Raises Http404 when the person may not see the search."""
    search = search_for_user(user, search_id)
    complete = after <= 0 or after > search.last_seq
    changed = board_candidates(search)
    if not complete:
        changed = changed.filter(updated_seq__gt=after)
    rows: dict[str, str] = {
        str(row.pk): render_to_string("search/_board_row.html", {"candidate": row, "search": search}) for row in changed
    }
    order = [str(pk) for pk in search.candidates.order_by("position", "pk").values_list("pk", flat=True)]
    return {
        "type": "snapshot" if complete else "update",
        "seq": search.last_seq,
        "header": render_to_string("search/_board_header.html", header_context(search)),
        "rows": rows,
        "order": order,
        "summary": summary(search),
        "final": not search.is_live,
    }


def header_context(search: Search) -> dict[str, Any]:
    """counts: candidates by state. eta: (low, high) seconds or None. waiting_reason: why a queued search waits."""
    counts = {state.value: 0 for state in CandidateState}
    counts |= dict(search.candidates.values_list("state").annotate(Count("pk")).order_by())
    waiting = ""
    if search.state == SearchState.QUEUED and (job := search_job(search)):
        waiting = job_waiting_reason(job)
    return {
        "search": search,
        "counts": counts,
        "verdict": search.verdict,
        "stage": search.stage,
        "eta": eta_seconds(search, counts),
        "waiting_reason": waiting,
    }


def eta_seconds(search: Search, counts: dict[str, int]) -> tuple[float, float] | None:
    """A range from the time per sample and candidate so far; None before anything was measured or after the end."""
    if search.state != SearchState.RUNNING or not search.compute_seconds:
        return None
    done = sum(search.candidates.values_list("samples_done", flat=True))
    live = counts[CandidateState.QUEUED] + counts[CandidateState.RUNNING]
    left = live * search.n_samples - sum(search.candidates.filter(state__in=["queued", "running"]).values_list("samples_done", flat=True))
    if not done or left <= 0:
        return None
    seconds = search.compute_seconds / done * left
    return seconds * 0.7, seconds * 1.5


def summary(search: Search) -> str:
    """One sentence for the polite status region."""
    if search.state == SearchState.QUEUED:
        return "Waiting for a worker."
    sentence = search.verdict.get("sentence", "")
    if not search.is_live:
        return f"{search.get_state_display()}. {sentence}".strip()
    leader = Candidate.objects.filter(search=search).select_related("version__model").order_by("position").first()
    lead = f" Leading: {leader.version.model.title}." if leader and search.samples_done else ""
    return f"{search.stage}. {search.samples_done} of {search.n_samples} samples seen by all.{lead}"
