"""The plan of a search as a tree: shared parts once, what follows them indented below, merged siblings outlined."""

from __future__ import annotations

from search.execution import Execution, Part
from search.plots.svg import Mark, Plot, Scale, short

WIDTH = 400
EDGE = 12
ROW = 46
INDENT = 18
DEEPEST = 6
SHOWN = 60


def plan_plot(execution: Execution) -> Plot:
    """One box for each part, in the order they run; parts beyond the first 60 are in the table alone."""
    shown = execution.parts[:SHOWN]
    dearest = max([0.001, *(part.predicted for part in execution.parts), *(part.actual or 0.0 for part in execution.parts)])
    place = {part.number: row for row, part in enumerate(shown)}
    marks: list[Mark] = []
    for row, part in enumerate(shown):
        left, top = _left(part), 6.0 + ROW * row
        for parent in (number for number in part.reads if number in place):
            x, y = _left(shown[place[parent]]) + 7, 6.0 + ROW * place[parent] + ROW - 6
            marks.append(Mark("poly", "branch-line", points=f"{x:g},{y:g} {x:g},{top + 16:g} {left:g},{top + 16:g}"))
    for row, part in enumerate(shown):
        marks += _box(part, 6.0 + ROW * row, dearest)
    rest = len(execution.parts) - len(shown) + execution.hidden
    return Plot(
        "plan",
        "The plan",
        "Each box is work that runs once for each chunk of samples; boxes below read what those above made. Upper bar: predicted, "
        "lower bar: what it took.",
        WIDTH,
        12 + ROW * max(len(shown), 1),
        tuple(marks),
        ("Part", "For candidates", "Siblings as one", "Predicted", "Took", "Reads"),
        tuple(_row(part) for part in execution.parts),
        legend=(("bar", "predicted"), ("bar reference", "took"), ("part-box merged", "siblings run as one")),
        note=f"{rest} more parts are in the table or too small to be told of." if rest else "",
    )


def _left(part: Part) -> float:
    return EDGE + INDENT * min(part.depth, DEEPEST)


def _box(part: Part, top: float, dearest: float) -> list[Mark]:
    left = _left(part)
    scale = Scale(0, dearest, 0, WIDTH - EDGE - 12 - EDGE - INDENT * DEEPEST)
    said = f"{part.name}, for {_served(part)}: {_ms(part.predicted)} predicted, {_ms(part.actual)} taken"
    words = short(part.name, 34)
    note = f"{part.serves} candidates" if part.serves > 1 else short(part.candidates[0][0], 22) if part.candidates else ""
    marks = [
        Mark("rect", "part-box merged" if part.width > 1 else "part-box", left, top, WIDTH - EDGE - left, ROW - 8, label=said),
        Mark("text", "name", left + 8, top + 15, label=words),
        Mark("text", "tick", WIDTH - EDGE - 6, top + 15, label=f"{note} ×{part.width}" if part.width > 1 else note, anchor="end"),
        Mark("rect", "bar", left + 8, top + 22, max(scale(part.predicted), 1.0), 4, label=said),
    ]
    if part.actual is not None:
        marks.append(Mark("rect", "bar reference", left + 8, top + 28, max(scale(part.actual), 1.0), 4, label=said))
    return marks


def _row(part: Part) -> tuple[str, ...]:
    reads = ", ".join(str(number + 1) for number in part.reads)
    return (
        f"{part.number + 1}: {part.name}", _served(part), str(part.width) if part.width > 1 else "", _ms(part.predicted), _ms(part.actual),
        reads or "the samples",
    )  # fmt: skip


def _served(part: Part) -> str:
    names = [name for titles in part.candidates for name in titles]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _ms(value: float | None) -> str:
    return "nothing yet" if value is None else f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"
