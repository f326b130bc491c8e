"""How the values of a group are joined, cut and handed out."""

from __future__ import annotations

import pytest
import torch

from gpuworker.core.engine.layouts import Lie
from gpuworker.core.engine.pieces import Piece, gathered, members


def _piece(lie: Lie) -> Piece:
    """Members 2 to 4, each with its number in all (2, 3) of its elements."""
    each = torch.stack([torch.full((2, 3), float(number)) for number in (2, 3, 4)])
    value = {"stack": each, "wide": each.transpose(0, 1).flatten(1, 2), "same": each[0]}[lie]
    return Piece(value, lie, 2, 3)


@pytest.mark.parametrize("lie", ["stack", "wide", "same"])
def test_each_member_gets_its_own(lie: Lie) -> None:
    found = members(_piece(lie))
    assert [tuple(value.shape) for value in found] == [(2, 3)] * 3
    assert [float(value.max()) for value in found] == ([2, 2, 2] if lie == "same" else [2, 3, 4])


@pytest.mark.parametrize("lie", ["stack", "wide", "same"])
def test_a_part_of_a_piece_is_a_view_and_joined_ones_keep_their_order(lie: Lie) -> None:
    piece = _piece(lie)
    value, told = gathered([piece], 3, 1)
    assert told == "same", "one member alone"
    assert value.untyped_storage().data_ptr() == piece.value.untyped_storage().data_ptr()
    assert float(value.max()) == (2 if lie == "same" else 3)

    before = Piece(torch.full((2, 3), 1.0), "same", 1, 1)
    value, told = gathered([before, piece], 1, 3)
    assert [float(each.max()) for each in members(Piece(value, told, 1, 3))] == ([1, 2, 2] if lie == "same" else [1, 2, 3])
