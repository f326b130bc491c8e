"""Results kept for the next run on the same samples: bounded, the cheapest to make again per byte goes first.

Keys name the computation and the data it was fed, so that a result can never be taken for another. Belongs to the owner of
the samples, and goes with them.
"""

from __future__ import annotations

from collections.abc import Hashable

import torch


class ResultCache:
    """GreedyDual-Size (Cao and Irani, 1997): an entry's credit is its cost per byte above the credit of the last one evicted."""

    def __init__(self, capacity: int) -> None:
        self._capacity, self._floor = capacity, 0.0
        self._kept: dict[Hashable, tuple[torch.Tensor, float, int]] = {}
        self._credit: dict[Hashable, float] = {}
        self.bytes = 0

    def get(self, key: Hashable) -> torch.Tensor | None:
        """The result, which must not be written into, or None."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._credit[key] = self._floor + found[1] / found[2]
        return found[0]

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def put(self, key: Hashable, result: torch.Tensor, ms: float) -> None:
        """Keep a result that took so long to make, where it is worth more than what has to go for it."""
        size = max(1, result.numel() * result.element_size())
        if key in self._kept or size > self._capacity:
            return
        credit = self._floor + ms / size
        while self.bytes + size > self._capacity:
            least = min(self._credit, key=self._credit.__getitem__)
            if self._credit[least] > credit:
                return
            self._floor = self._credit[least]
            self._drop(least)
        # A view would keep the whole of the tensor it looks into.
        own = result if result.untyped_storage().nbytes() <= size else result.clone()
        self._kept[key], self._credit[key] = (own, ms, size), credit
        self.bytes += size

    def clear(self) -> None:
        """Forget everything: the samples are gone."""
        self._kept.clear()
        self._credit.clear()
        self.bytes = 0

    def _drop(self, key: Hashable) -> None:
        _, _, size = self._kept.pop(key)
        del self._credit[key]
        self.bytes -= size
