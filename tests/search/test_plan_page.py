"""How the candidates run: names, depth, what is shared and merged, costs, and the states without a plan."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from search.execution import execution_of
from search.models import Search, SearchPlan, SearchState
from search.plots.plan import SHOWN, plan_plot
from tests.conftest import api_for, client_for

pytestmark = pytest.mark.django_db


def part(number: int, models: list[list[int]], *, reads: tuple[int, ...] = (), width: int = 1, ms: float = 10.0) -> dict[str, object]:
    operators = [["conv+", 2], ["reshape", 9], ["linear", 1], ["max_pool", 1], ["softmax", 1]]
    return {
        "part": number, "reads": list(reads), "models": models, "width": width, "operators": operators, "opaque": False, "ms": ms,
    }  # fmt: skip


@pytest.fixture
def planned(finished: Search) -> Search:
    """A trunk of the first two, their heads side by side; the third candidate has no place in the plan."""
    first, second, _ = finished.candidates.order_by("position").values_list("pk", flat=True)
    predicted = {
        "ms": 300.0, "low": 250.0, "high": 360.0, "loop_ms": 500.0, "shared": 0.4, "peak_bytes": 1_000_000, "weight_bytes": 500_000,
        "piece_ms": 20.0,
    }  # fmt: skip
    drawing = [part(0, [[0, 1]], ms=200.0), part(1, [[0], [1]], reads=(0,), width=2, ms=100.0)]
    plan = {"predicted": predicted, "candidates": [[250.0, 150.0], [250.0, 140.0]], "chunk": 64, "parts": [{}, {}]}
    SearchPlan.objects.create(
        search=finished, plan=plan, drawing=drawing, candidates=[first, second], device="A processor", measured=False, worked={"0": 180.0}
    )
    finished.plan = {
        "candidates": 2, "one_by_one": 1, "seconds": 0.3, "low": 0.25, "high": 0.36, "shared": 0.4, "memory_bytes": 1_500_000,
    }  # fmt: skip
    finished.save()
    return finished


@pytest.fixture
def browser(alice: User) -> Client:
    return client_for(alice)


def words(browser: Client, search: Search) -> str:
    answer = browser.get(reverse("search:search_plan", args=[search.pk]))
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def test_by_hand(planned: Search) -> None:
    found = execution_of(planned)
    assert found is not None
    trunk, heads = found.parts
    assert trunk.name == "conv ×2, linear, max pool …", "operators that only look at a value otherwise name nothing"
    assert (trunk.shared, trunk.serves, trunk.depth, trunk.actual) == (True, 2, 0, 180.0)
    assert (heads.shared, heads.serves, heads.depth, heads.reads, heads.width, heads.actual) == (False, 2, 1, (0,), 2, None)
    assert (found.predicted, found.low, found.high, found.loop, found.seconds, found.piece) == (0.3, 0.25, 0.36, 0.5, 0.18, 0.02)
    assert (found.memory, found.merged, found.hidden) == (1_500_000, 1, 0)
    assert [(cost.alone, cost.share) for cost in found.costs] == [(0.25, 0.15), (0.25, 0.14), (None, None)]
    third = planned.candidates.order_by("position").last()
    assert third is not None and found.one_by_one == (third.version.model.title,)


def test_a_program_that_runs_as_a_whole_is_called_so(planned: Search) -> None:
    kept = planned.execution
    kept.drawing[0]["opaque"] = True
    kept.save()
    found = execution_of(planned)
    assert found is not None and found.parts[0].name == "the whole program"


def test_the_tree_has_a_box_for_each_part_and_its_table(planned: Search) -> None:
    found = execution_of(planned)
    assert found is not None
    plot = plan_plot(found)
    boxes = [mark for mark in plot.marks if mark.css.startswith("part-box")]
    assert [mark.css for mark in boxes] == ["part-box", "part-box merged"] and boxes[1].x > boxes[0].x
    assert sum(mark.css == "branch-line" for mark in plot.marks) == 1
    assert sum(mark.css == "bar reference" for mark in plot.marks) == 1, "the second has not begun"
    assert plot.rows[1][2:] == ("2", "100 ms", "nothing yet", "1")


def test_a_large_plan_is_drawn_in_part_and_says_so(planned: Search) -> None:
    kept = planned.execution
    kept.drawing = [part(number, [[0]]) for number in range(SHOWN + 5)]
    kept.plan["parts"] = [{}] * (SHOWN + 7)
    kept.save()
    found = execution_of(planned)
    assert found is not None
    plot = plan_plot(found)
    assert sum(mark.css == "part-box" for mark in plot.marks) == SHOWN
    assert len(plot.rows) == SHOWN + 5 and plot.note.startswith("7 more")


def test_the_page_says_what_was_predicted_and_who_runs_alone(browser: Client, planned: Search) -> None:
    text = words(browser, planned)
    assert (
        "250 ms to 360 ms" in text
        and "40.0" in text
        and "a stop waits for the one under way" in text
        and "not timed yet" in text
        and "1 candidate runs by itself" in text
    )
    board = browser.get(planned.get_absolute_url()).content.decode()
    assert reverse("search:search_plan", args=[planned.pk]) in board and "1 run by themselves" in board


def test_over_the_api(alice: User, planned: Search) -> None:
    found = api_for(alice).get(reverse("api-search-execution", args=[planned.pk])).json()
    assert found["parts"][1]["candidates"] and found["parts"][1]["width"] == 2
    assert found["seconds"] == 0.18 and found["costs"][2]["alone"] is None and len(found["one_by_one"]) == 1


def test_without_a_plan_the_page_says_why(browser: Client, finished: Search) -> None:
    assert "ran one by one" in words(browser, finished)
    Search.objects.filter(pk=finished.pk).update(state=SearchState.RUNNING)
    assert "Nothing is planned yet" in words(browser, finished)
