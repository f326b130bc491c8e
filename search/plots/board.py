"""Plots over all candidates: intervals, accuracy against latency, agreement. Narrow enough to be read on a phone as drawn."""

from __future__ import annotations

from collections.abc import Sequence

from search.metrics import predicted_name
from search.models import Candidate, Search
from search.plots.labels import Box, place_labels
from search.plots.svg import Mark, Plot, Scale, log_ticks, padded_share_range, percent, points, share_axis, short, ticks
from search.predictions import Answers, agreement, answers_of, leaders
from search.rows import board_candidates

WIDTH = 400
EDGE = 12
INTERVALS = 24
INTERVAL_ROW = 32
AGREEMENT = 24
CELLS = 264  # of the agreement matrix, across
NUMBERED = 20  # a cell from this size on has room for its figure
NAMES = 26


def board_plots(search: Search) -> list[Plot]:
    """All of them, also those without anything to show yet."""
    rows, metric = list(board_candidates(search)), predicted_name(search)
    return [
        interval_plot(rows, metric),
        frontier_plot(rows, metric, search.device),
        agreement_plot(answers_of(search, leaders(search, AGREEMENT))),
    ]


def interval_plot(candidates: Sequence[Candidate], metric: str) -> Plot:
    """The predicted metric with its interval, a name and a line for each candidate that has a prediction, in the board's order."""
    known = [row for row in candidates if row.predicted is not None]
    shown = known[:INTERVALS]
    values = [value for row in shown for value in (row.predicted, row.low, row.high) if value is not None]
    low, high = padded_share_range(values)
    height = 8 + INTERVAL_ROW * max(len(shown), 1) + 26
    scale = Scale(low, high, EDGE, WIDTH - 2 * EDGE)
    marks = share_axis(scale, 4, height - 24)
    for index, row in enumerate(shown):
        top = 8.0 + INTERVAL_ROW * index
        y = top + 22
        title = str(row.version.model.title)
        said = f"{title}: {percent(row.predicted)}, {_interval(row)}"
        marks.append(Mark("text", "name halo", EDGE, top + 11, label=short(title, 48)))
        if row.low is not None and row.high is not None:
            marks.append(Mark("line", "range", scale(row.low), y, scale(row.high), y, label=said))
        marks.append(Mark("dot", "mark", scale(row.predicted or 0.0), y, 4, label=said))
    rest = len(known) - len(shown)
    without = len(candidates) - len(known)
    notes = [f"{rest} more are in the table." if rest else "", f"{without} without a prediction are left out." if without else ""]
    return Plot(
        "intervals",
        f"Predicted {metric} of all candidates",
        "Dots are predictions, bars their 90 % intervals. Predicted: executed on your samples, no labels seen.",
        WIDTH,
        height,
        tuple(marks),
        ("Model", f"Predicted {metric}", "90 % interval"),
        tuple((row.version.model.title, percent(row.predicted), _interval(row)) for row in known),
        note=" ".join(note for note in notes if note),
    )


def _interval(row: Candidate) -> str:
    return "no interval" if row.low is None or row.high is None else f"{percent(row.low)} to {percent(row.high)}"


def frontier(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates that no other beats in both prediction and latency, the fastest first."""
    known = sorted(_placed(candidates), key=lambda row: (row.latency_ms or 0.0, -(row.predicted or 0.0)))
    kept: list[Candidate] = []
    for row in known:
        if not kept or (row.predicted or 0.0) > (kept[-1].predicted or 0.0):
            kept.append(row)
    return kept


def _placed(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [row for row in candidates if row.predicted is not None and row.latency_ms]


def frontier_plot(candidates: Sequence[Candidate], metric: str, device: str = "") -> Plot:
    """The predicted metric against latency per sample (logarithmic), with the line of those worth a choice."""
    known, best = _placed(candidates), frontier(candidates)
    on_line = {row.pk for row in best}
    times = [row.latency_ms or 0.0 for row in known]
    low_ms, high_ms = (min(times) * 0.8, max(times) * 1.25) if times else (0.1, 10.0)
    low, high = padded_share_range([row.predicted or 0.0 for row in known])
    height, left, right = 320, 48, WIDTH - EDGE
    floor = height - 44
    x, y = Scale(low_ms, high_ms, left, right, log=True), Scale(low, high, floor, 16)
    marks = [Mark("line", "ax", left, y(tick), right, y(tick)) for tick in ticks(low, high)]
    marks += [Mark("text", "tick", left - 6, y(tick) + 4, label=f"{100 * tick:g} %", anchor="end") for tick in ticks(low, high)]
    grid = log_ticks(low_ms, high_ms) or [low_ms, high_ms]
    marks += [Mark("line", "ax", x(tick), 16, x(tick), floor) for tick in grid]
    marks += [Mark("text", "tick", x(tick), floor + 16, label=f"{tick:.3g}", anchor="middle") for tick in grid]
    marks.append(Mark("text", "axis-title", (left + right) / 2, height - 8, label="milliseconds per sample", anchor="middle"))
    dots = {row.pk: (x(row.latency_ms or 0.0), y(row.predicted or 0.0)) for row in known}
    line = [dots[row.pk] for row in best]
    if len(line) > 1:
        marks.append(Mark("poly", "mark-line frontier", points=points([dot[0] for dot in line], [dot[1] for dot in line])))
    for row in known:
        said = f"{row.version.model.title}: {percent(row.predicted)}, {row.latency_ms:.3g} ms"
        css, radius = ("mark", 5.0) if row.pk in on_line else ("mark other", 4.0)
        marks.append(Mark("dot", css, *dots[row.pk], radius, label=said))
    names = [(*dots[row.pk], short(row.version.model.title, NAMES)) for row in reversed(best)]
    marks += place_labels(names, list(dots.values()), line, Box(left, 4, right, floor))
    missing = len(candidates) - len(known)
    latency = f"Latency is predicted for {device}." if device else "Latency was measured when each model was published."
    return Plot(
        "frontier",
        f"Predicted {metric} against latency",
        f"On the line: nothing is both faster and predicted better. {latency}",
        WIDTH,
        height,
        tuple(marks),
        ("Model", f"Predicted {metric}", "Latency", "On the frontier"),
        tuple((r.version.model.title, percent(r.predicted), f"{r.latency_ms:.3g} ms", "yes" if r.pk in on_line else "no") for r in known),
        legend=(("mark", "on the frontier"), ("mark other", "others")),
        note=f"{missing} without a prediction or a latency are left out." if missing else "",
    )


def agreement_plot(answers: Answers) -> Plot:
    """How often each two of the leaders give the same label; figures in the cells where there is room."""
    table = agreement(answers)
    names = [str(row.version.model.title) for row in answers.candidates]
    count = len(names)
    cell = min(30, CELLS // max(count, 1))
    # Under a figure a cell is at most half as dark, so that the figure can be read in both themes.
    darkest = 0.5 if cell >= NUMBERED else 1.0
    left, top = WIDTH - CELLS - 4, 20
    marks: list[Mark] = []
    for i, name in enumerate(names):
        middle = top + cell * i + cell / 2
        marks.append(Mark("text", "cell-name", left - 6, middle + 3.5, label=f"{short(name, 19)} {i + 1}", anchor="end"))
        marks.append(Mark("text", "cell-name", left + cell * i + cell / 2, top - 6, label=str(i + 1), anchor="middle"))
        for j, other in enumerate(names):
            share = float(table[i, j])
            known = share == share  # NaN: they have seen no sample together
            said = f"{name} and {other}: " + (percent(share, 0) if known else "no sample in common")
            x, y = left + cell * j, top + cell * i
            dark = round(darkest * share**2, 3) if known else None
            marks.append(Mark("rect", "cell" if known else "cell unknown", x, y, cell - 1, cell - 1, label=said, opacity=dark))
            if cell >= NUMBERED and dark is not None:
                marks.append(Mark("text", "cell-figure", x + (cell - 1) / 2, middle + 3, label=f"{100 * share:.0f}", anchor="middle"))
    rows = tuple((name, *(percent(float(v), 0) if v == v else "none" for v in table[i])) for i, name in enumerate(names))
    return Plot(
        "agreement",
        "Agreement of the leaders",
        "Per cent of the samples with the same label from both: the darker, the more alike. Models that always agree cannot be told apart.",
        WIDTH,
        top + cell * max(count, 1) + 4,
        tuple(marks),
        ("Model", *(str(i + 1) for i in range(count))),
        rows,
        note=f"The first {count} of the board." if count else "Nothing has run yet.",
    )
