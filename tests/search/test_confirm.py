"""Confirming a search with labels: what counts as a label, what it changes, and that everything can be taken back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent, Team, User
from catalog.models import ModelVersion
from gpuworker.core.labelling import Label, pick
from search import labelling
from search.access import search_for_user
from search.exports import board_csv, board_document
from search.labelling import CannotLabel, confirmation_calibrates, counted, label_give, label_take_back, round_of
from search.labelling_models import Confirmation, GivenLabel
from search.models import Candidate, CandidateState, SampleSet, SampleSetState, Search, SearchState
from search.predictions import answers_of, leaders
from search.reports import report_create
from tests.conftest import client_for
from tests.search.factories import LABELS, make_search, run

pytestmark = pytest.mark.django_db


def truth_of(search: Search) -> list[int]:
    """What the best of the made models says: it stands in for the person's knowledge."""
    return [int(label) for label in answers_of(search, leaders(search, 1)).labels[0]]


def say(search: Search, person: User, times: int, label: int | None | str = "truth") -> list[int]:
    """Answer so many questions; the samples that were asked for."""
    truth, asked = truth_of(search), []
    for _ in range(times):
        ask = round_of(search).ask(person)
        assert ask is not None
        label_give(search=search, actor=person, ticket=ask.ticket, label=truth[ask.item] if label == "truth" else label)  # type: ignore[arg-type]
        asked.append(ask.item)
    return asked


def test_labels_that_agree_with_one_model_make_it_lead_surely(alice: User, finished: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    # The same draws whatever keys the rows have: how much an interval shrinks depends on which samples were asked for.
    monkeypatch.setattr(labelling, "pick", lambda given, belief, closed, seed: pick(given, belief, closed, 0))
    before = round_of(finished).belief
    say(finished, alice, 30)
    after = round_of(finished).belief
    first = finished.candidates.order_by("position")[0]
    confirmation = Confirmation.objects.get(search=finished)
    assert (confirmation.n, confirmation.leader, confirmation.kind) == (30, first.pk, "enough")
    assert confirmation.figures[str(first.pk)]["value"] == pytest.approx(float(after.mean[0]), abs=1e-6)
    assert confirmation.sure > 0.9
    width = [float(belief.interval[1][0] - belief.interval[0][0]) for belief in (before, after)]
    assert width[1] < 0.8 * width[0]


def test_no_sample_is_asked_for_twice_and_the_last_question_has_no_successor(alice: User, finished: Search) -> None:
    asked = say(finished, alice, 60)
    assert sorted(asked) == list(range(60))
    assert round_of(finished).ask(alice) is None


def test_the_same_sample_is_asked_for_again_after_a_reload(alice: User, finished: Search) -> None:
    say(finished, alice, 3)
    first, second = round_of(finished).ask(alice), round_of(finished).ask(alice)
    assert first is not None
    assert second is not None
    assert first.item == second.item


def test_an_undo_leads_back_to_the_state_before(alice: User, finished: Search) -> None:
    say(finished, alice, 6)
    before = Confirmation.objects.get(search=finished)
    ask = round_of(finished).ask(alice)
    (item,) = say(finished, alice, 1)
    taken = label_take_back(search=finished, actor=alice)
    after, again = Confirmation.objects.get(search=finished), round_of(finished).ask(alice)
    assert taken is not None
    assert ask is not None
    assert again is not None
    assert taken.item == item == ask.item == again.item
    assert (after.n, after.figures, after.sure) == (before.n, before.figures, before.sure)


def test_undoing_everything_leaves_nothing_confirmed(alice: User, finished: Search) -> None:
    say(finished, alice, 2)
    assert label_take_back(search=finished, actor=alice) is not None
    assert label_take_back(search=finished, actor=alice) is not None
    assert label_take_back(search=finished, actor=alice) is None
    confirmation = Confirmation.objects.get(search=finished)
    assert (confirmation.n, confirmation.figures, confirmation.leader) == (0, {}, None)


def test_a_skipped_sample_counts_for_nothing_and_is_not_asked_for_again(alice: User, finished: Search) -> None:
    (skipped,) = say(finished, alice, 1, None)
    assert Confirmation.objects.get(search=finished).n == 0
    assert skipped not in say(finished, alice, 59)


def test_a_second_word_on_a_sample_replaces_the_first(alice: User, finished: Search) -> None:
    ask = round_of(finished).ask(alice)
    assert ask is not None
    for label in (0, 2):
        label_give(search=finished, actor=alice, ticket=ask.ticket, label=label)
    row = GivenLabel.objects.get(search=finished)
    assert (row.item, row.label) == (ask.item, 2)


def test_a_sample_that_one_person_labelled_is_not_asked_of_another_but_a_skipped_one_is(alice: User, bob: User, finished: Search) -> None:
    labelled = set(say(finished, alice, 20))
    skipped = set(say(finished, alice, 40, None))
    asked = set(say(finished, bob, 40))
    assert asked == skipped
    assert asked.isdisjoint(labelled)


def row(item: int, label: int | None, weight: float = 1.0) -> GivenLabel:
    return GivenLabel(item=item, label=label, weight=weight)


def test_where_people_differ_the_majority_counts_and_an_even_split_does_not() -> None:
    given = [row(1, 0), row(2, 1), row(1, 2), row(1, 2, 4.0), row(2, 0), row(3, None), row(4, 1), row(4, None)]
    labels, disputed = counted(given)
    assert labels == (Label(1, 2, 2.0), Label(4, 1))
    assert disputed == (2,)


def test_only_the_sample_that_was_asked_for_may_be_labelled(alice: User, bob: User, finished: Search, versions: list[ModelVersion]) -> None:
    """Else anybody could choose samples that suit their model, and the estimate would be unfair without showing it."""
    ask = round_of(finished).ask(alice)
    other = run(make_search(alice, finished.sample_set, versions))
    assert ask is not None
    for search, person, ticket in ((finished, bob, ask.ticket), (other, alice, ask.ticket), (finished, alice, ask.ticket[:-2] + "xx")):
        with pytest.raises(CannotLabel, match="asked for"):
            label_give(search=search, actor=person, ticket=ticket, label=0)
    assert not GivenLabel.objects.exists()


def test_a_question_grows_old_in_a_day(alice: User, finished: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = round_of(finished).ask(alice)
    assert ask is not None
    monkeypatch.setattr(labelling, "TICKET_SECONDS", timedelta(seconds=-1).total_seconds())
    with pytest.raises(CannotLabel):
        label_give(search=finished, actor=alice, ticket=ask.ticket, label=0)


@pytest.mark.parametrize("label", [-1, len(LABELS)])
def test_a_label_that_the_search_does_not_have_is_refused(alice: User, finished: Search, label: int) -> None:
    ask = round_of(finished).ask(alice)
    assert ask is not None
    with pytest.raises(CannotLabel, match="label"):
        label_give(search=finished, actor=alice, ticket=ask.ticket, label=label)


def test_a_search_that_runs_can_be_confirmed_on_what_all_have_seen(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = run(make_search(alice, samples, versions), state=SearchState.RUNNING)
    Search.objects.filter(pk=search.pk).update(samples_done=32)
    search.refresh_from_db()
    found = round_of(search)
    assert found.contest.samples == 32
    assert all(item < 32 for item in say(search, alice, 32))


def test_a_model_that_left_early_or_failed_does_not_take_part(alice: User, finished: Search) -> None:
    first, second, third = finished.candidates.order_by("position")
    Candidate.objects.filter(pk=second.pk).update(samples_done=32)
    assert [row.pk for row in round_of(finished).candidates] == [first.pk, third.pk]
    Candidate.objects.filter(pk=third.pk).update(state=CandidateState.FAILED)
    with pytest.raises(CannotLabel, match="nothing to confirm"):
        round_of(finished)


def test_experts_speak_of_accuracy_only(alice: User, finished: Search) -> None:
    """Under another metric than accuracy, what ANCHOR predicts is that metric."""
    for candidate in finished.candidates.all():
        candidate.scores["anchor"] = {"value": 0.2}
        candidate.save()
    with_anchor = round_of(finished).contest
    finished.metric = {"kind": "macro_f1"}
    without = round_of(finished).contest
    assert len(with_anchor.weights) == len(without.weights) + 1
    assert with_anchor.worth > without.worth


def test_deleted_samples_are_said_to_be_gone(alice: User, finished: Search) -> None:
    SampleSet.objects.update(state=SampleSetState.DELETED)
    with pytest.raises(CannotLabel, match="gone"):
        round_of(Search.objects.select_related("sample_set").get(pk=finished.pk))


def test_every_change_is_in_the_audit_log(alice: User, team: Team, finished: Search) -> None:
    (item,) = say(finished, alice, 1, 1)
    label_take_back(search=finished, actor=alice)
    confirmation_calibrates(search=finished, actor=alice, calibrates=True)
    told = {event.action: (event.actor, event.before, event.after) for event in AuditEvent.objects.filter(object_id=str(finished.pk))}
    assert told["label.give"] == (alice, {}, {"sample": item, "label": LABELS[1]})
    assert told["label.take_back"] == (alice, {"sample": item, "label": LABELS[1]}, {})
    assert told["confirmation.calibrates"] == (alice, {"calibrates": False}, {"calibrates": True})


def test_the_time_of_a_label_is_that_of_the_last_word(alice: User, finished: Search) -> None:
    started = timezone.now()
    say(finished, alice, 1)
    assert started <= GivenLabel.objects.get().given <= timezone.now()


def test_what_labels_confirm_stands_in_the_export_and_nothing_before_them(alice: User, finished: Search) -> None:
    assert {(row["confirmed_accuracy"], row["confirmed_labels"]) for row in board_document(finished)["candidates"]} == {(None, 0)}
    say(finished, alice, 8)
    fresh = search_for_user(alice, finished.pk)
    rows = board_document(fresh)["candidates"]
    belief = round_of(fresh).belief
    assert [row["confirmed_accuracy"] for row in rows] == pytest.approx(belief.mean.tolist(), abs=1e-6)
    assert {(row["confirmed_labels"], row["grade"]) for row in rows} == {(8, "predicted")}
    assert "confirmed_accuracy,confirmed_low,confirmed_high,confirmed_labels" in board_csv(board_document(fresh)).splitlines()[0]


def test_the_board_and_the_report_show_the_grade_confirmed_once_there_is_a_label(alice: User, finished: Search) -> None:
    browser = client_for(alice)
    assert "grade-confirmed" not in browser.get(finished.get_absolute_url()).content.decode()
    say(finished, alice, 2)
    report = report_create(search=search_for_user(alice, finished.pk), actor=alice)
    for url in (finished.get_absolute_url(), reverse("search:report", args=[finished.pk, report.pk])):
        assert browser.get(url).content.decode().count("confirmed (2 labels)") == 3
