"""Whatever happened and whenever a browser fell asleep: replay ends where a fresh snapshot ends, and numbers have no gap."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Team, User
from search.board import BoardUpdate, board_update
from search.events import event_add
from search.models import Candidate, CandidateState, Search, SearchState
from search.services import search_end
from tests.search.factories import make_sampleset, make_search, make_version

pytestmark = pytest.mark.django_db
ROWS = 5


@dataclass(frozen=True, slots=True)
class Step:
    """kind: rung, fail or order; rows: places of the candidates it touches."""

    kind: str
    rows: tuple[int, ...]
    value: int


STEPS = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(["rung", "rung", "fail", "order"]),
        rows=st.lists(st.integers(0, ROWS - 1), min_size=0, max_size=ROWS, unique=True).map(tuple),
        value=st.integers(1, 999),
    ),
    max_size=8,
)


def take(search: Search, step: Step) -> None:
    everyone = list(search.candidates.order_by("pk"))
    touched = [everyone[place] for place in step.rows]
    ids = [row.pk for row in touched]
    match step.kind:
        case "rung":
            Candidate.objects.filter(pk__in=ids).update(samples_done=step.value, predicted=step.value / 1000, state=CandidateState.RUNNING)
            event_add(search, "rung", {"samples": step.value, "of": 60}, rows=ids, fields={"samples_done": step.value})
        case "fail":
            Candidate.objects.filter(pk__in=ids).update(state=CandidateState.FAILED, error_title=f"Broken at {step.value}")
            event_add(search, "candidate_failed", {"title": "Broken"}, rows=ids)
        case "order":
            for place, row in enumerate(sorted(everyone, key=lambda row: (row.pk * step.value) % 7)):
                Candidate.objects.filter(pk=row.pk).update(position=place)
            event_add(search, "rung", {"samples": 1, "of": 60}, rows=[row.pk for row in everyone])


def shown(rows: dict[str, str], update: BoardUpdate) -> dict[str, str]:
    return {} | update["rows"] if update["type"] == "snapshot" else rows | update["rows"]


@given(steps=STEPS, ends=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_replay_from_anywhere_is_a_fresh_snapshot(steps: list[Step], ends: bool, alice: User, team: Team) -> None:
    Search.objects.all().delete()
    versions = [
        team.models.get(name=f"m{number}").versions.get()
        if team.models.filter(name=f"m{number}").exists()
        else make_version(alice, team, f"m{number}")
        for number in range(ROWS)
    ]
    search = make_search(alice, make_sampleset(alice, n=3), versions, state=SearchState.RUNNING)
    first = board_update(alice, search.pk)
    screens = {first["seq"]: shown({}, first)}
    for step in steps:
        take(search, step)
        seq = search.last_seq
        screens[seq] = shown(screens[seq - 1], board_update(alice, search.pk, seq - 1))
    if ends:
        search_end(search=Search.objects.get(pk=search.pk), state=SearchState.FINISHED)
    fresh = board_update(alice, search.pk)
    for seq, rows in screens.items():
        last = board_update(alice, search.pk, seq)
        assert shown(rows, last) == fresh["rows"], f"fell asleep after event {seq}"
        assert (last["order"], last["header"], last["summary"], last["final"], last["seq"]) == (
            fresh["order"], fresh["header"], fresh["summary"], fresh["final"], fresh["seq"],
        )  # fmt: skip
    assert fresh["final"] is ends
    assert list(search.events.values_list("seq", flat=True)) == list(range(1, fresh["seq"] + 1))
