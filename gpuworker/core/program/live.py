"""Bytes held by the values of a running program, each piece of memory counted once however many views look into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class LiveBytes:
    """total: bytes of the storages that the entered tensors hold. Storages of `apart` (the weights) never count."""

    def __init__(self, apart: Mapping[str, torch.Tensor]) -> None:
        self._apart = {_place(tensor) for tensor in apart.values()}
        self._holders: dict[int, int] = {}
        self.total = 0

    def enter(self, value: Any) -> None:
        """A value came to be. Sizes, which are plain integers, take nothing."""
        if isinstance(value, torch.Tensor) and _place(value) not in self._apart:
            place = _place(value)
            if place not in self._holders:
                self.total += value.untyped_storage().nbytes()
            self._holders[place] = self._holders.get(place, 0) + 1

    def leave(self, value: Any) -> None:
        """A value that was entered is dropped."""
        if isinstance(value, torch.Tensor) and _place(value) in self._holders:
            place = _place(value)
            self._holders[place] -= 1
            if not self._holders[place]:
                del self._holders[place]
                self.total -= value.untyped_storage().nbytes()


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
