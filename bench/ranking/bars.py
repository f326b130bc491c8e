"""What the ranking has to reach on domains that no model has seen, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Bar:
    """figure: by its name in the JSON. better: which way. bar, stretch: to reach; high: upper end where a figure must not exceed it."""

    figure: str
    better: Literal["higher", "lower"]
    bar: float
    stretch: float | None = None
    high: float | None = None


BARS = (
    Bar("anchor.tau", "higher", 0.58, 0.66),
    Bar("anchor.regret1", "lower", 0.080, 0.050),
    Bar("a_only.tau", "higher", 0.47, 0.55),
    Bar("labelshift.regret1", "lower", 0.085, 0.060),
    Bar("coverage90.all", "higher", 0.87, high=0.93),
    Bar("coverage90.winner", "higher", 0.87),
    Bar("width90.winner", "lower", 1.0, 0.30),
    Bar("trap_worst.ratio", "lower", 2.5),
    Bar("trap_worst.regret1", "lower", 0.10, 0.06),
    Bar("labels10.regret1", "lower", 0.045, 0.0225),
    Bar("labels20.regret1", "lower", 0.022, 0.011),
    Bar("race.best_dropped", "lower", 0.05, 0.02),
    Bar("anchor.mae", "lower", 0.070, 0.050),
    Bar("prior100k_p95_ms", "lower", 50.0),
)


def bars(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line per bar whose figure is there: whether it is met and, where not, by how much it is missed."""
    found = [_line(bar, float(figures[bar.figure])) for bar in BARS if isinstance(figures.get(bar.figure), int | float)]
    if "tasks" in figures and "tasks_beating_adaptivity" in figures:
        every = Bar("tasks_beating_adaptivity", "higher", float(figures["tasks"]))
        found.append(_line(every, float(figures["tasks_beating_adaptivity"])))
    return found


def _line(bar: Bar, value: float) -> dict[str, Any]:
    sign = 1 if bar.better == "higher" else -1
    short = sign * (bar.bar - value)
    over = 0.0 if bar.high is None else value - bar.high
    missed = max(short, over, 0.0)
    wanted = f"{'>=' if bar.better == 'higher' else '<='} {bar.bar:g}" if bar.high is None else f"{bar.bar:g} to {bar.high:g}"
    stretch = None if bar.stretch is None else ("yes" if sign * (value - bar.stretch) >= 0 else "no")
    return {
        "figure": bar.figure,
        "bar": wanted,
        "measured": value,
        "met": "no" if missed > 0 else "yes",
        "missed by": round(missed, 4) if missed > 0 else None,
        "stretch": None if bar.stretch is None else bar.stretch,
        "stretch met": stretch,
    }
