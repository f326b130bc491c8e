"""Reading predictions back: labels, agreement, disagreement."""

from __future__ import annotations

import numpy as np
import pytest

from accounts.models import User
from catalog.models import ModelVersion
from search.models import Candidate, CandidateState, PredictionChunk, SampleSet, Search
from search.predictions import against_majority, agreement, answers_of, disputed, disputed_order, leaders, log_probs_from
from tests.search.factories import give_predictions, make_search

A, B, C = 0, 1, 2


@pytest.fixture
def split(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> Search:
    """Three candidates on four samples: all agree, two against one (twice), all differ."""
    search = make_search(alice, samples, versions, n_samples=4)
    table = [[A, A, B, A], [A, A, B, B], [A, B, C, C]]
    for row, answers in zip(search.candidates.order_by("position"), table, strict=True):
        give_predictions(row, np.array(answers), 3, chunk=3)
        row.samples_done, row.state = 4, CandidateState.FINISHED
        row.save()
    return search


def test_answers_join_chunks_in_order(split: Search) -> None:
    answers = answers_of(split, leaders(split))
    assert answers.labels.tolist() == [[A, A, B, A], [A, A, B, B], [A, B, C, C]]
    assert np.allclose(answers.confidence, 0.8, atol=1e-3)


def test_failed_and_unmeasured_rows_are_no_leaders(split: Search) -> None:
    first, second, _ = split.candidates.order_by("position")
    Candidate.objects.filter(pk=first.pk).update(state=CandidateState.FAILED)
    Candidate.objects.filter(pk=second.pk).update(samples_done=0)
    assert [row.position for row in leaders(split)] == [2]


def test_a_row_that_saw_less_has_gaps(split: Search) -> None:
    first = split.candidates.order_by("position")[0]
    PredictionChunk.objects.filter(candidate=first, start=3).delete()
    answers = answers_of(split, leaders(split))
    assert answers.labels[0].tolist() == [A, A, B, -1]
    assert agreement(answers)[0, 1] == 1.0  # over the three samples both have seen


def test_chunks_of_another_width_are_skipped(split: Search) -> None:
    first = split.candidates.order_by("position")[0]
    PredictionChunk.objects.filter(candidate=first, start=0).update(log_probs=b"\x00" * 10)
    assert answers_of(split, leaders(split)).labels[0].tolist() == [-1, -1, -1, A]
    assert log_probs_from(b"", 0) is None


def test_agreement_by_hand(split: Search) -> None:
    table = agreement(answers_of(split, leaders(split)))
    assert table.tolist() == [[1.0, 0.75, 0.25], [0.75, 1.0, 0.25], [0.25, 0.25, 1.0]]


def test_most_disputed_first(split: Search) -> None:
    answers = answers_of(split, leaders(split))
    order, share = disputed_order(answers)
    assert order.tolist() == [3, 1, 2, 0]
    assert share.round(3).tolist() == [0.0, 0.333, 0.333, 0.667]
    assert disputed(answers, 1, float(share[1])).votes == ((A, (0, 1)), (B, (2,)))
    assert disputed(answers, 3, 1.0).votes == ((A, (0,)), (B, (1,)), (C, (2,)))


def test_against_the_plurality_of_the_others(split: Search) -> None:
    answers = answers_of(split, leaders(split))
    assert against_majority(answers, 2).tolist() == [1, 2, 3]
    # Alone on the last sample, but the two others are not of one mind either: either of them counts as plurality.
    assert against_majority(answers, 0).tolist() == [3]


def test_nothing_predicted(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:
    search = make_search(alice, samples, versions)
    answers = answers_of(search, leaders(search))
    order, share = disputed_order(answers)
    assert (answers.n, order.size, share.size) == (0, 0, 0)
