"""Events are numbered without a gap, in the transaction of what they tell, and told after the commit."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.models import User
from catalog.models import ModelVersion
from config.channels import PgNotifyLayer
from search.events import event_add, group_of
from search.models import SampleSet, Search, SearchEvent
from tests.search.factories import make_search


@pytest.fixture
def search(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> Search:
    return make_search(alice, samples, versions)


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What is handed to the channel layer."""
    sent: list[tuple[str, dict[str, Any]]] = []

    async def group_send(self: PgNotifyLayer, group: str, message: dict[str, Any]) -> None:
        sent.append((group, message))

    monkeypatch.setattr(PgNotifyLayer, "group_send", group_send)
    return sent


@pytest.mark.django_db(transaction=True)
def test_numbers_have_no_gap_whoever_writes(search: Search, versions: list[ModelVersion]) -> None:
    """Eight threads, some of whose transactions fail: what is kept is 1, 2, 3 and so on, each number once."""
    start, failures = threading.Barrier(8), []

    def write(number: int) -> None:
        try:
            start.wait()
            mine = Search.objects.get(pk=search.pk)
            for turn in range(12):
                try:
                    with transaction.atomic():
                        event_add(mine, "rung", {"samples": turn, "of": number})
                        if (turn + number) % 4 == 0:
                            raise ZeroDivisionError
                except ZeroDivisionError:
                    pass
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    search.refresh_from_db()
    kept = 1 + 8 * 12 - 8 * 3
    assert list(SearchEvent.objects.filter(search=search).order_by("seq").values_list("seq", flat=True)) == list(range(1, kept + 1))
    assert search.last_seq == kept


@pytest.mark.django_db(transaction=True)
def test_a_hint_goes_out_after_the_commit_only(search: Search, hints: list[tuple[str, dict[str, Any]]]) -> None:
    with transaction.atomic():
        seq = event_add(search, "rung", {"samples": 1, "of": 2})
        assert hints == []
    assert hints == [(group_of(search.pk), {"type": "search.changed", "search": search.pk, "seq": seq, "final": False})]
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        event_add(search, "rung", {"samples": 1, "of": 2})
        raise ZeroDivisionError
    assert len(hints) == 1


@pytest.mark.django_db(transaction=True)
def test_a_layer_that_is_down_harms_nothing(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(self: PgNotifyLayer, group: str, message: dict[str, Any]) -> None:
        raise ConnectionError

    monkeypatch.setattr(PgNotifyLayer, "group_send", down)
    with transaction.atomic():
        event_add(search, "rung", {"samples": 1, "of": 2}, fields={"stage": "saved"})
    search.refresh_from_db()
    assert (search.last_seq, search.stage) == (2, "saved")


@pytest.mark.django_db
def test_rows_carry_the_number_of_their_last_event(search: Search, hints: object) -> None:
    first, second, third = search.candidates.order_by("position")
    event_add(search, "rung", {"samples": 1, "of": 2}, rows=[first.pk, second.pk])
    event_add(search, "rung", {"samples": 2, "of": 2}, rows=[second.pk], fields={"stage": "on", "samples_done": 2})
    assert list(search.candidates.order_by("position").values_list("updated_seq", flat=True)) == [2, 3, 1]
    assert (search.last_seq, search.stage, search.samples_done) == (3, "on", 2), "the object at hand is kept in step"
    search.refresh_from_db()
    assert (search.last_seq, search.stage, search.samples_done) == (3, "on", 2)
    assert third.updated_seq == 1


@pytest.mark.django_db
def test_rows_of_another_search_are_left_alone(
    search: Search, alice: User, samples: SampleSet, versions: list[ModelVersion], hints: object
) -> None:
    other = make_search(alice, samples, versions)
    theirs = other.candidates.first()
    assert theirs is not None
    event_add(search, "rung", {"samples": 1, "of": 2}, rows=[theirs.pk])
    theirs.refresh_from_db()
    assert theirs.updated_seq == 1
