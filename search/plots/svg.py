"""Marks, scales and the plot document that `search/_plot.html` draws. Colours are classes; geometry is attributes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Mark:
    """One SVG element. kind line: x, y to x2, y2. rect: x, y, width x2, height y2. dot: centre x, y, radius x2.
    text: at x, y, `label` its words. poly, area: `points`. `label` of the others is their tooltip."""

    kind: Literal["line", "rect", "dot", "text", "poly", "area"]
    css: str
    x: float = 0
    y: float = 0
    x2: float = 0
    y2: float = 0
    label: str = ""
    anchor: Literal["start", "middle", "end"] = "start"
    points: str = ""
    opacity: float | None = None


@dataclass(frozen=True, slots=True)
class Plot:
    """title, description: for people and screen readers. columns, rows: the same figures as a table. note: what is
    left out, or why there is nothing to show."""

    key: str
    title: str
    description: str
    width: int
    height: int
    marks: tuple[Mark, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps low..high to start..stop, linearly or by logarithm; values outside are clipped to the ends."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (
            (math.log(number) for number in (self.low, self.high, max(value, self.low))) if self.log else (self.low, self.high, value)
        )
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + min(max(share, 0.0), 1.0) * (self.stop - self.start), 1)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers inside [low, high]: steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / max(about, 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5, 10) if factor * power >= rough), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten inside [low, high]."""
    found = [f * 10.0**p for p in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for f in (1, 2, 5)]
    return [tick for tick in found if low <= tick <= high]


def padded_share_range(values: Sequence[float], least: float = 0.2) -> tuple[float, float]:
    """An axis for shares in [0, 1] that holds all values with some room and spans at least `least`."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = max((least - (high - low)) / 2, 0.03)
    low, high = max(low - room, 0.0), min(high + room, 1.0)
    return math.floor(low * 20) / 20, math.ceil(high * 20) / 20


def points(xs: Sequence[float], ys: Sequence[float]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in zip(xs, ys, strict=True))


def percent(value: float | None, digits: int = 1) -> str:
    return "not known" if value is None else f"{100 * value:.{digits}f} %"


def short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def share_axis(scale: Scale, top: float, bottom: float) -> list[Mark]:
    """A horizontal axis of percentages with grid lines."""
    marks: list[Mark] = []
    for tick in ticks(scale.low, scale.high):
        x = scale(tick)
        marks += [Mark("line", "ax", x, top, x, bottom), Mark("text", "tick", x, bottom + 14, label=f"{100 * tick:g} %", anchor="middle")]
    return marks
