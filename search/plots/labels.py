"""Names beside dots, none over another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from search.plots.svg import Mark

LETTER = 6.4  # mean width of a letter at 12 units, rather too wide than too narrow
UP, DOWN, GAP = 10.0, 3.0, 8.0  # of a line of text over and under its base line; between a dot and its name
Point = tuple[float, float]


class Box(NamedTuple):
    """A rectangle in the plot's units, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom

    def holds(self, other: Box) -> bool:
        return self.left <= other.left and other.right <= self.right and self.top <= other.top and other.bottom <= self.bottom


def place_labels(names: Sequence[tuple[float, float, str]], dots: Sequence[Point], line: Sequence[Point], frame: Box) -> list[Mark]:
    """A name (x, y, text) stands at the first of eight places round its dot where it meets no dot, no earlier name and not the line,
    inside the frame. One that has no such place is left out: it stands in the table and in the dot's tooltip."""
    taken = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in dots] + _along(line)
    marks: list[Mark] = []
    for x, y, text in names:
        width = LETTER * len(text)
        for left, base in _places(x, y, width):
            box = Box(left, base - UP, left + width, base + DOWN)
            if frame.holds(box) and not any(box.meets(other) for other in taken):
                taken.append(box)
                marks.append(Mark("text", "name halo", round(left, 1), round(base, 1), label=text))
                break
    return marks


def _places(x: float, y: float, width: float) -> list[Point]:
    """Left end and base line: below and above on the right, on the left, and in the middle, then level with the dot."""
    right, left, middle = x + GAP, x - GAP - width, x - width / 2
    below, above, level = y + 16, y - 9, y + 4
    return [(right, below), (right, above), (right, level), (left, above), (left, below), (left, level), (middle, y + 21), (middle, y - 13)]


def _along(line: Sequence[Point]) -> list[Box]:
    """Small boxes along a polyline."""
    boxes = []
    for (x1, y1), (x2, y2) in zip(line, line[1:], strict=False):
        steps = max(1, int(max(abs(x2 - x1), abs(y2 - y1)) / 4))
        for step in range(steps + 1):
            x, y = x1 + (x2 - x1) * step / steps, y1 + (y2 - y1) * step / steps
            boxes.append(Box(x - 2, y - 2, x + 2, y + 2))
    return boxes
