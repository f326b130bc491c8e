"""A list of what could not be used, with a bound on its length."""

from __future__ import annotations

from collections.abc import Sequence

from gpuworker.core.errors import UnreadableSamples
from gpuworker.core.protocols import FileProblem
from gpuworker.core.texts import visible

_SHOWN = 3


class ProblemLog:
    """Collects problems; beyond `cap` they are only counted, and one last entry says how many."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._items: list[FileProblem] = []
        self._more = 0

    def add(self, name: str, reason: str, row: int | None = None) -> None:
        if len(self._items) < self._cap:
            self._items.append(FileProblem(visible(name[:400]), visible(reason[:400]), row))
        else:
            self._more += 1

    def finish(self) -> Sequence[FileProblem]:
        if not self._more:
            return tuple(self._items)
        return (*self._items, FileProblem("", f"{self._more} more problems of the same run are not listed."))

    def nothing_usable(self, fix: str) -> UnreadableSamples:
        """The error to raise when no sample is left; its detail quotes the first problems."""
        lines = [f"{item.name}{'' if item.row is None else f' row {item.row}'}: {item.reason}" for item in self._items[:_SHOWN]]
        rest = len(self._items) + self._more - len(lines)
        detail = " ".join(lines) + (f" And {rest} more." if rest > 0 else "")
        return UnreadableSamples("No sample could be read.", detail=detail or "The files hold no samples.", fix=fix)
