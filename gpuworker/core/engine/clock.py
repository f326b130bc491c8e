"""How long something took, and how fast the machine was meanwhile.

A core that shares its parts with a neighbour, or its frequency with the others, does the same work in up to twice the time, for a
second or for a minute. Whatever is compared or kept is therefore timed beside a fixed piece of work, the reference, and counts in
its units.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

_SIDE, _LONG = 64, 1 << 14
"""The reference: products of small matrices, and an operator on a vector; some 30 microseconds. Where a core is shared, the former
slow down by more than networks do, the latter by less, and both together about as much."""
_RECENT = 0.05
"""Seconds for which a pace holds that is not measured anew."""


def clock_of(device: str) -> Callable[[], float]:
    """Seconds; on a GPU after all that was started has ended. One thread alone is timed by its own processor time, which other
    processes on the machine do not disturb."""
    if not device.startswith("cuda"):
        return time.thread_time if torch.get_num_threads() == 1 else time.perf_counter

    def waited() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return waited


def tick_of(clock: Callable[[], float]) -> float:
    """Seconds that asking the clock takes."""
    return statistics.median(-clock() + clock() for _ in range(50))


class Pace:
    """Seconds that the reference takes at the moment. On a GPU always 1: its clock is its own."""

    def __init__(self, device: str) -> None:
        self._clock = None if device.startswith("cuda") else clock_of(device)
        self._square, self._vector = torch.full((_SIDE, _SIDE), 0.1), torch.full((_LONG,), 0.1)
        self._last, self._until = 1.0, 0.0

    def now(self) -> float:
        """Measured now: the least of three, since the first finds its data out of the cache, and another may be interrupted."""
        if self._clock is not None:
            self._last = min(self._once(self._clock) for _ in range(3))
            self._until = time.perf_counter() + _RECENT
        return self._last

    def recent(self) -> float:
        """Measured in the last 50 ms, or now."""
        return self._last if time.perf_counter() < self._until else self.now()

    def _once(self, clock: Callable[[], float]) -> float:
        started = clock()
        torch.mm(self._square, torch.mm(self._square, self._square))
        torch.tanh(self._vector)
        return max(clock() - started, 1e-9)


def steady(seconds: Sequence[float], paces: Sequence[float]) -> tuple[float, float]:
    """(median of the seconds, the pace for which they are typical) of runs, each with the pace measured beside it."""
    typical = max(statistics.median(seconds), 1e-7)
    return typical, typical / max(statistics.median(took / pace for took, pace in zip(seconds, paces, strict=True)), 1e-7)
