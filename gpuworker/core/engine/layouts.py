"""How the values of a merged group lie in one tensor, and the ways between.

same: one tensor for all members. stack: (g, N, ...), member by member. wide: (N, g * C, ...), the members' channels side by side.
For weights: common (one for all) or own (one for each).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

Tensor = torch.Tensor
Lie = Literal["same", "stack", "wide", "common", "own"]
Convert = Callable[[Tensor], Tensor]


def alike(lie: Lie, count: int) -> tuple[Lie, ...]:
    """The same for several values."""
    return tuple([lie] * count)


def _as_is(x: Tensor) -> Tensor:
    return x


def split(x: Tensor, dim: int, g: int) -> Tensor:
    """One dimension of g * k elements as two, (g, k)."""
    return x.reshape(*x.shape[:dim], g, x.shape[dim] // g, *x.shape[dim + 1 :])


def to_stack(lie: Lie, g: int) -> Convert:
    """To (g, N, ...), without a copy."""
    if lie == "wide":
        return lambda x: split(x, 1, g).transpose(0, 1)
    if lie in ("same", "common"):
        return lambda x: x.unsqueeze(0).expand(g, *x.shape)
    return _as_is


def to_wide(lie: Lie, g: int) -> Convert:
    """To (N, g * C, ...)."""
    if lie == "stack":
        return lambda x: x.transpose(0, 1).flatten(1, 2)
    if lie in ("same", "common"):
        return lambda x: x.repeat(1, g, *(1,) * (x.dim() - 2))
    return _as_is


def to_rows(lie: Lie, g: int) -> Convert:
    """To (g * N, ...): the members as further samples."""
    turn = to_stack(lie, g)
    return lambda x: turn(x).flatten(0, 1)


def aligned(lie: Lie, g: int, rank: int, target: int) -> Convert:
    """To a tensor that broadcasts, beside others of rank `target` + 1, as the member's own tensor of rank `rank` would."""
    if lie in ("same", "common"):
        return _as_is
    turn = to_stack(lie, g)
    if rank == target:
        return turn
    fill = (1,) * (target - rank)
    return lambda x: (y := turn(x)).reshape(y.shape[0], *fill, *y.shape[1:])


def member(x: Tensor, lie: Lie, place: int, g: int) -> Tensor:
    """The tensor of one member; a view."""
    if lie == "same":
        return x
    if lie == "stack":
        return x[place]
    size = x.shape[1] // g
    return x.narrow(1, place * size, size)


def part(x: Tensor, lie: Lie, first: int, count: int, g: int) -> Tensor:
    """Members first to first + count in the same layout; a view."""
    if lie == "same":
        return x
    if lie == "stack":
        return x.narrow(0, first, count)
    size = x.shape[1] // g
    return x.narrow(1, first * size, count * size)
