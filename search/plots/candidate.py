"""Plots of one candidate: the estimate over samples, its class balance, and the samples against its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.models import Candidate
from search.plots.svg import Mark, Plot, Scale, padded_share_range, percent, points, share_axis, short, ticks

WIDTH = 448
CLASSES = 24
WORDS = 12


@dataclass(frozen=True, slots=True)
class Balance:
    """Shares by label; reference None where the publisher's sample had no labels."""

    labels: tuple[str, ...]
    predicted: tuple[float, ...]
    reference: tuple[float, ...] | None


def history_plot(candidate: Candidate, metric: str) -> Plot | None:
    """The estimate after each rung, with its interval; None before the first one."""
    known = [(int(n), float(value), low, high) for n, value, low, high in candidate.history if value is not None]
    if not known:
        return None
    low, high = padded_share_range([number for row in known for number in row[1:] if number is not None])
    height = 190
    y = Scale(low, high, height - 40, 12)
    x = Scale(0, max(max(row[0] for row in known), 1), 52, WIDTH - 16)
    marks = [Mark("line", "ax", 52, y(tick), WIDTH - 16, y(tick)) for tick in ticks(low, high, 4)]
    marks += [Mark("text", "tick", 46, y(tick) + 4, label=f"{100 * tick:g} %", anchor="end") for tick in ticks(low, high, 4)]
    marks += [Mark("text", "tick", x(tick), height - 24, label=f"{tick:g}", anchor="middle") for tick in ticks(0, x.high, 4)]
    marks.append(Mark("text", "axis-title", (52 + WIDTH - 16) / 2, height - 6, label="samples used", anchor="middle"))
    band = [row for row in known if row[2] is not None and row[3] is not None]
    if len(band) > 1:
        upper, lower = [(x(r[0]), y(r[3])) for r in band], [(x(r[0]), y(r[2])) for r in reversed(band)]
        corners = upper + lower
        marks.append(Mark("area", "band", points=points([c[0] for c in corners], [c[1] for c in corners])))
    marks.append(Mark("poly", "mark-line", points=points([x(row[0]) for row in known], [y(row[1]) for row in known])))
    for n, value, least, most in known:
        said = f"{n} samples: {percent(value)}" + ("" if least is None else f", {percent(least)} to {percent(most)}")
        marks.append(Mark("dot", "mark", x(n), y(value), 3.5, label=said))
    rows = tuple((f"{n:,}", percent(v), "no interval" if a is None else f"{percent(a)} to {percent(b)}") for n, v, a, b in known)
    return Plot(
        "history",
        "The estimate over samples",
        f"Predicted {metric} after each step; the band is its 90 % interval.",
        WIDTH,
        height,
        tuple(marks),
        ("Samples", f"Predicted {metric}", "90 % interval"),
        rows,
    )


def balance_plot(balance: Balance) -> Plot | None:
    """Bars of the share given to each label, beside the publisher's own class balance."""
    if not balance.predicted:
        return None
    count = min(len(balance.labels), CLASSES)
    row = 30 if balance.reference else 20
    height = 10 + row * count + 24
    top = max([*balance.predicted, *(balance.reference or ())], default=1.0)
    scale = Scale(0, max(min(top * 1.1, 1.0), 0.05), 130, WIDTH - 16)
    marks = share_axis(scale, 6, height - 20)
    for index in range(count):
        y = 10 + row * index
        label, share = balance.labels[index], balance.predicted[index]
        marks.append(Mark("text", "name", 122, y + row / 2, label=short(label, 17), anchor="end"))
        marks.append(Mark("rect", "bar", 130, y, max(scale(share) - 130, 0.5), 10, label=f"{label}: predicted {percent(share)}"))
        if balance.reference:
            known = balance.reference[index]
            marks.append(
                Mark("rect", "bar reference", 130, y + 12, max(scale(known) - 130, 0.5), 10, label=f"{label}: reference {percent(known)}")
            )
    reference = balance.reference or (None,) * len(balance.labels)
    return Plot(
        "balance",
        "Class balance",
        "How the model spreads your samples over the labels, beside the labels of its publisher's reference sample."
        if balance.reference
        else "How the model spreads your samples over the labels.",
        WIDTH,
        height,
        tuple(marks),
        ("Label", "Predicted on your samples", "Reference sample"),
        tuple((name, percent(p), percent(r)) for name, p, r in zip(balance.labels, balance.predicted, reference, strict=True)),
        legend=(("bar", "predicted on your samples"), ("bar reference", "reference sample")) if balance.reference else (),
        note=f"The first {count} of {len(balance.labels)} labels." if len(balance.labels) > count else "",
    )


def histogram_plot(samples: NDArray[Any], reference: NDArray[Any]) -> Plot | None:
    """Two histograms of values, each after its own min-max, as outlines; None when one of them is empty or they differ in bins."""
    if samples.shape != reference.shape or samples.ndim != 1 or not samples.sum() or not reference.sum():
        return None
    own, theirs = samples / samples.sum(), reference / reference.sum()
    height, bins = 170, len(own)
    top = float(np.quantile(np.concatenate([own, theirs]), 0.99)) * 1.15 or 1.0
    x, y = Scale(0, bins, 16, WIDTH - 16), Scale(0, top, height - 30, 10)
    marks = [Mark("line", "ax", 16, height - 30, WIDTH - 16, height - 30)]
    for css, shares in (("outline reference", theirs), ("outline", own)):
        edges = [edge for index in range(bins) for edge in (x(index), x(index + 1))]
        heights = [y(float(share)) for share in shares for _ in (0, 1)]
        marks.append(Mark("poly", css, points=points(edges, heights)))
    marks += [
        Mark("text", "tick", 16, height - 12, label="lowest value"),
        Mark("text", "tick", WIDTH - 16, height - 12, label="highest value", anchor="end"),
    ]
    tenths = np.array_split(np.arange(bins), 10)
    rows = tuple(
        (f"{10 * i} to {10 * i + 10} %", percent(float(own[part].sum())), percent(float(theirs[part].sum())))
        for i, part in enumerate(tenths)
    )
    return Plot(
        "reference",
        "Your samples against the reference sample",
        "Histogram of all values, each set scaled to its own range. Where outlines differ, the model meets values it was not checked on.",
        WIDTH,
        height,
        tuple(marks),
        ("Part of the range", "Your samples", "Reference sample"),
        rows,
        legend=(("outline", "your samples"), ("outline reference", "reference sample")),
        note="Spikes above the 99 % level are cut off in the drawing." if float(max(own.max(), theirs.max())) > top else "",
    )


def words_plot(differences: Sequence[tuple[str, float, float]]) -> Plot | None:
    """Words whose share differs most: (word, share in the samples, share in the reference), the largest difference first."""
    shown = list(differences)[:WORDS]
    if not shown:
        return None
    row = 22
    height = 12 + row * len(shown) + 22
    reach = max(abs(a - b) for _, a, b in shown) or 1.0
    scale = Scale(-reach, reach, 140, WIDTH - 12)
    middle = scale(0)
    marks = [Mark("line", "ax", middle, 6, middle, height - 20)]
    for index, (word, own, theirs) in enumerate(shown):
        y = 10 + row * index
        end = scale(own - theirs)
        css = "bar" if own >= theirs else "bar reference"
        marks.append(Mark("text", "name", 132, y + 11, label=short(word, 18), anchor="end"))
        marks.append(
            Mark(
                "rect",
                css,
                min(middle, end),
                y,
                max(abs(end - middle), 0.5),
                14,
                label=f"{word}: {percent(own, 2)} against {percent(theirs, 2)}",
            )
        )
    marks += [
        Mark("text", "tick", middle - 6, height - 5, label="more in the reference", anchor="end"),
        Mark("text", "tick", middle + 6, height - 5, label="more in yours"),
    ]
    return Plot(
        "reference",
        "Your words against the reference sample",
        "Words whose share differs most between your samples and the reference sample.",
        WIDTH,
        height,
        tuple(marks),
        ("Word", "Your samples", "Reference sample"),
        tuple((word, percent(a, 2), percent(b, 2)) for word, a, b in shown),
    )
