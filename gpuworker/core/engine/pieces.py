"""The values of a merged group in mid-run: tensors that each hold some neighbouring members, joined or cut as widths change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpuworker.core.engine.layouts import Lie, part

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Piece:
    """Members first to first + count of a group in one tensor (or one size). lie "same": one tensor that is right for each."""

    value: Any
    lie: Lie
    first: int
    count: int


def gathered(pieces: Sequence[Piece], first: int, count: int) -> tuple[Any, Lie]:
    """One tensor for members first to first + count, and how they lie in it.

    A view where one piece holds them all, else a copy. pieces: in order, without gaps.
    """
    found = [_cut(piece, first, count) for piece in pieces if piece.first < first + count and piece.first + piece.count > first]
    if len(found) == 1:
        return found[0].value, found[0].lie
    if not isinstance(found[0].value, Tensor):
        return found[0].value, "same"
    if any(piece.lie == "wide" for piece in found) and all(piece.lie == "wide" or piece.count == 1 for piece in found):
        return torch.cat([piece.value for piece in found], 1), "wide"
    return torch.cat([_stacked(piece) for piece in found]), "stack"


def members(piece: Piece) -> Sequence[Any]:
    """The value of each; views."""
    if piece.lie == "same":
        return [piece.value] * piece.count
    found: Sequence[Any] = piece.value.unbind(0) if piece.lie == "stack" else piece.value.chunk(piece.count, 1)
    return found


def _cut(piece: Piece, first: int, count: int) -> Piece:
    start, stop = max(first, piece.first), min(first + count, piece.first + piece.count)
    if piece.lie == "same" or (start, stop) == (piece.first, piece.first + piece.count):
        return Piece(piece.value, piece.lie, start, stop - start)
    cut = part(piece.value, piece.lie, start - piece.first, stop - start, piece.count)
    if stop - start == 1:
        return Piece(cut.squeeze(0) if piece.lie == "stack" else cut, "same", start, 1)
    return Piece(cut, piece.lie, start, stop - start)


def _stacked(piece: Piece) -> Tensor:
    """(count, N, ...)."""
    x: Tensor = piece.value
    if piece.lie == "stack":
        return x
    if piece.lie == "wide":
        return x.reshape(x.shape[0], piece.count, x.shape[1] // piece.count, *x.shape[2:]).transpose(0, 1)
    return x.unsqueeze(0).expand(piece.count, *x.shape)
