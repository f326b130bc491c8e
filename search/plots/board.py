"""Plots over all candidates: intervals, accuracy against latency, agreement."""

from __future__ import annotations

from collections.abc import Sequence

from search.models import Candidate
from search.plots.svg import Mark, Plot, Scale, log_ticks, padded_share_range, percent, points, share_axis, short, ticks
from search.predictions import Answers, agreement

WIDTH = 680
SHOWN = 30
ROW = 20
LEFT = 200


def interval_plot(candidates: Sequence[Candidate]) -> Plot:
    """Predicted accuracy with its interval, one line per candidate that has a prediction, in the board's order."""
    known = [row for row in candidates if row.predicted is not None]
    shown = known[:SHOWN]
    values = [value for row in shown for value in (row.predicted, row.low, row.high) if value is not None]
    low, high = padded_share_range(values)
    height = 16 + ROW * max(len(shown), 1) + 26
    scale = Scale(low, high, LEFT, WIDTH - 24)
    marks = share_axis(scale, 8, height - 24)
    for index, row in enumerate(shown):
        y = 18.0 + ROW * index
        title = str(row.version.model.title)
        marks.append(Mark("text", "name", LEFT - 10, y + 4, label=short(title, 30), anchor="end"))
        said = f"{title}: {percent(row.predicted)}, {_interval(row)}"
        if row.low is not None and row.high is not None:
            marks.append(Mark("line", "range", scale(row.low), y, scale(row.high), y, label=said))
        marks.append(Mark("dot", "mark", scale(row.predicted or 0.0), y, 4, label=said))
    rest = len(known) - len(shown)
    without = len(candidates) - len(known)
    notes = [f"{rest} more are in the table." if rest else "", f"{without} without a prediction are left out." if without else ""]
    return Plot(
        "intervals",
        "Predicted accuracy of all candidates",
        "Dots are predictions, bars their 90 % intervals. Predicted: executed on your samples, no labels seen.",
        WIDTH,
        height,
        tuple(marks),
        ("Model", "Predicted accuracy", "90 % interval"),
        tuple((row.version.model.title, percent(row.predicted), _interval(row)) for row in known),
        note=" ".join(note for note in notes if note),
    )


def _interval(row: Candidate) -> str:
    return "no interval" if row.low is None or row.high is None else f"{percent(row.low)} to {percent(row.high)}"


def frontier(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates that no other beats in both predicted accuracy and latency, the fastest first."""
    known = sorted(_placed(candidates), key=lambda row: (row.version.latency_ms or 0.0, -(row.predicted or 0.0)))
    kept: list[Candidate] = []
    for row in known:
        if not kept or (row.predicted or 0.0) > (kept[-1].predicted or 0.0):
            kept.append(row)
    return kept


def _placed(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [row for row in candidates if row.predicted is not None and row.version.latency_ms]


def frontier_plot(candidates: Sequence[Candidate]) -> Plot:
    """Predicted accuracy against latency per sample (logarithmic), with the line of those worth a choice."""
    known, best = _placed(candidates), frontier(candidates)
    on_line = {row.pk for row in best}
    times = [row.version.latency_ms or 0.0 for row in known]
    low_ms, high_ms = (min(times) * 0.8, max(times) * 1.25) if times else (0.1, 10.0)
    low, high = padded_share_range([row.predicted or 0.0 for row in known])
    height = 300
    x, y = Scale(low_ms, high_ms, 56, WIDTH - 24, log=True), Scale(low, high, height - 44, 16)
    marks = [Mark("line", "ax", 56, y(tick), WIDTH - 24, y(tick)) for tick in ticks(low, high)]
    marks += [Mark("text", "tick", 48, y(tick) + 4, label=f"{100 * tick:g} %", anchor="end") for tick in ticks(low, high)]
    grid = log_ticks(low_ms, high_ms) or [low_ms, high_ms]
    marks += [Mark("line", "ax", x(tick), 16, x(tick), height - 44) for tick in grid]
    marks += [Mark("text", "tick", x(tick), height - 28, label=f"{tick:.3g}", anchor="middle") for tick in grid]
    marks.append(Mark("text", "axis-title", (56 + WIDTH - 24) / 2, height - 8, label="milliseconds per sample", anchor="middle"))
    if len(best) > 1:
        xs = [x(row.version.latency_ms or 0.0) for row in best]
        marks.append(Mark("poly", "mark-line frontier", points=points(xs, [y(row.predicted or 0.0) for row in best])))
    for row in known:
        said = f"{row.version.model.title}: {percent(row.predicted)}, {row.version.latency_ms:.3g} ms"
        css = "mark" if row.pk in on_line else "mark other"
        marks.append(Mark("dot", css, x(row.version.latency_ms or 0.0), y(row.predicted or 0.0), 5 if row.pk in on_line else 4, label=said))
    marks += _labels(best, x, y)
    missing = len(candidates) - len(known)
    return Plot(
        "frontier",
        "Predicted accuracy against latency",
        "On the line: nothing is both faster and predicted better. Latency was measured when each model was published.",
        WIDTH,
        height,
        tuple(marks),
        ("Model", "Predicted accuracy", "Latency", "On the frontier"),
        tuple(
            (r.version.model.title, percent(r.predicted), f"{r.version.latency_ms:.3g} ms", "yes" if r.pk in on_line else "no")
            for r in known
        ),
        legend=(("mark", "on the frontier"), ("mark other", "others")),
        note=f"{missing} without a prediction or a measured latency are left out." if missing else "",
    )


def _labels(best: Sequence[Candidate], x: Scale, y: Scale) -> list[Mark]:
    """Names beside the frontier's dots, those that would overlap left out."""
    marks: list[Mark] = []
    taken: list[tuple[float, float]] = []
    for row in reversed(best):
        left, top = x(row.version.latency_ms or 0.0), y(row.predicted or 0.0)
        if any(abs(left - other_x) < 170 and abs(top - other_y) < 14 for other_x, other_y in taken):
            continue
        taken.append((left, top))
        # Below and to the right: the line of the frontier rises to the right, so nothing is drawn over.
        end = left > WIDTH - 170
        place = left - 9 if end else left + 8
        marks.append(Mark("text", "name", place, top + 15, label=short(row.version.model.title, 26), anchor="end" if end else "start"))
    return marks


def agreement_plot(answers: Answers) -> Plot:
    """How often each two of the leaders give the same label."""
    table = agreement(answers)
    names = [str(row.version.model.title) for row in answers.candidates]
    count = len(names)
    cell = max(14, min(30, 460 // max(count, 1)))
    left, top = LEFT + 10, 24
    marks: list[Mark] = []
    for i, name in enumerate(names):
        marks.append(Mark("text", "name", left - 8, top + cell * i + cell / 2 + 4, label=f"{short(name, 26)}  {i + 1}", anchor="end"))
        marks.append(Mark("text", "tick", left + cell * i + cell / 2, top - 8, label=str(i + 1), anchor="middle"))
        for j, other in enumerate(names):
            share = float(table[i, j])
            known = share == share  # NaN: they have seen no sample together
            said = f"{name} and {other}: " + (percent(share, 0) if known else "no sample in common")
            css = "cell" if known else "cell unknown"
            marks.append(
                Mark(
                    "rect",
                    css,
                    left + cell * j,
                    top + cell * i,
                    cell - 1,
                    cell - 1,
                    label=said,
                    opacity=round(share**2, 3) if known else None,
                )
            )
    rows = tuple((name, *(percent(float(v), 0) if v == v else "none" for v in table[i])) for i, name in enumerate(names))
    return Plot(
        "agreement",
        "Agreement of the leaders",
        "Share of samples with the same label from both: the darker, the more alike. Models that always agree cannot be told apart.",
        max(WIDTH, left + cell * count + 10),
        top + cell * max(count, 1) + 10,
        tuple(marks),
        ("Model", *(str(i + 1) for i in range(count))),
        rows,
        note=f"The first {count} of the board." if count else "Nothing has run yet.",
    )
