"""A board is saved as the rows that changed, and those whose place among the others did."""

from __future__ import annotations

from accounts.models import User
from catalog.models import ModelVersion
from gpuworker.core.ranking import Board, Row, Verdict
from gpuworker.pipeline.boards import board_save
from search.models import Candidate, SampleSet, Search
from tests.search.conftest import samples, versions  # noqa: F401  # fixtures
from tests.search.factories import make_search


def board(*ranks: tuple[int, int]) -> Board:
    rows = tuple(
        Row(place, {}, "predicted", 60, 0.9 - place / 10, 0.0, 1.0, rank_from=low, rank_to=high) for place, (low, high) in enumerate(ranks)
    )
    return Board(60, rows, tuple(range(len(rows))), Verdict("tie", "", "", ""))


def save(search: Search, scored: Board) -> set[int]:
    """Places of the rows that a browser gets."""
    candidates = list(search.candidates.select_related("version__model").order_by("pk"))
    board_save(search, candidates, scored, 32)
    return set(Candidate.objects.filter(search=search, updated_seq=search.last_seq).values_list("position", flat=True))


def test_a_bracket_that_grows_is_sent_whole(alice: User, samples: SampleSet, versions: list[ModelVersion]) -> None:  # noqa: F811
    search = make_search(alice, samples, versions)
    assert save(search, board((1, 2), (1, 2), (3, 3))) == {0, 1, 2}
    assert save(search, board((1, 2), (1, 2), (3, 3))) == set()
    # The third row joins by its second; of the first nothing changes but whom it shares its rank with.
    assert save(search, board((1, 2), (1, 3), (2, 3))) == {0, 1, 2}
