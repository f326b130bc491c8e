"""The board as the browser gets it: the same message over the socket, by polling, and on first paint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, TypedDict

from django.contrib.auth.models import AnonymousUser
from django.template.loader import render_to_string
from django.utils import timezone

from accounts.models import User
from jobs.models import JobState
from jobs.services import job_waiting_reason
from search.access import search_for_user
from search.basis import basis
from search.models import CandidateState, Search, SearchState
from search.rows import board_candidates
from search.services import search_job

# (state, samples_done, seconds) of each candidate.
Progress = Sequence[tuple[str, int, float]]


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
    """counts: candidates by state; present: those states that are there. done: share of the planned predictions made, in [0, 1].
    basis: what the predictions rest on, None while that is not known.

    Of a live search also: eta: (low, high) seconds or None. worker: name of the one that holds it, "" for none; lost: whether
    that one has stopped answering. waiting_reason: why a search without a worker waits.
    """
    job = search_job(search) if search.is_live else None
    rows = list(search.candidates.values_list("state", "samples_done", "seconds"))
    counts = dict.fromkeys(CandidateState.values, 0) | Counter(state for state, _, _ in rows)
    held = job is not None and job.state == JobState.RUNNING
    return {
        "search": search,
        "counts": counts,
        "present": [(state, n) for state, n in counts.items() if n],
        "done": share_done(rows, search.n_samples),
        "verdict": search.verdict,
        "basis": basis(search),
        "stage": search.stage,
        "eta": eta_seconds(rows, search.n_samples) if held else None,
        "worker": job.worker if job and held else "",
        "lost": bool(job and held and job.lease_until < timezone.now()),
        "waiting_reason": job_waiting_reason(job) if job else "",
    }


def share_done(rows: Progress, n_samples: int) -> float | None:
    """Predictions made of those planned; None where nothing is planned. Rows that failed are left out, and of rows that left the race
    nothing more is planned."""
    planned = sum(done if state == CandidateState.ELIMINATED else n_samples for state, done, _ in rows if state != CandidateState.FAILED)
    return sum(done for state, done, _ in rows if state != CandidateState.FAILED) / planned if planned else None


def eta_seconds(rows: Progress, n_samples: int) -> tuple[float, float] | None:
    """A range from the time per sample so far, each row at its own pace or, before it began, at everybody's; None without a pace.

    Only forward passes were timed: loading, scoring and saving come on top, so the range is wider upwards.
    """
    timed = [(done, seconds) for _, done, seconds in rows if done and seconds]
    if not timed:
        return None
    pace = sum(seconds for _, seconds in timed) / sum(done for done, _ in timed)
    open_rows = [(done, seconds) for state, done, seconds in rows if state in (CandidateState.QUEUED, CandidateState.RUNNING)]
    left = sum((n_samples - done) * (seconds / done if done and seconds else pace) for done, seconds in open_rows)
    return (left * 0.7, left * 1.5) if left > 0 else None


def summary(search: Search) -> str:
    """One sentence for the polite status region."""
    if search.state == SearchState.QUEUED:
        return "Waiting for a worker."
    sentence = search.verdict.get("sentence", "")
    if not search.is_live:
        return f"{search.get_state_display()}. {sentence}".strip()
    titles = search.candidates.order_by("position").values_list("version__model__title", flat=True)
    leader = titles.first() if search.samples_done else None
    lead = f" Leading: {leader}." if leader else ""
    return f"{search.stage}. {search.samples_done} of {search.n_samples} samples seen by all.{lead}"
