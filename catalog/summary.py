"""The JSON-safe extract of a behaviour signature that pages and the API show, and its bars for drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict


class SignatureSummary(TypedDict, total=False):
    """All self-reported: measured on the publisher's own reference sample. Lists run over the labels, in the order of the outputs.

    n: reference samples. accuracy, ece, ece_scaled: in [0, 1]. recalls: None for a label without samples.
    true_counts, predicted_counts: samples per label. confidence_counts: 20 equal bins over [0, 1]. mean_entropy: nats.
    """

    n: int
    accuracy: float | None
    recalls: list[float | None]
    true_counts: list[int]
    predicted_counts: list[int]
    confidence_counts: list[int]
    ece: float | None
    ece_scaled: float | None
    temperature: float | None
    mean_entropy: float | None


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a plot of 100 x 40 units, and its row in the table beside it. share: in [0, 1] of the whole, or None."""

    label: str
    text: str
    x: float
    width: float
    y: float
    height: float
    share: float | None


MOST_BARS = 60


def bars(labels: Sequence[str], values: Sequence[float | None], *, top: float | None = None, as_counts: bool = False) -> list[Bar]:
    """Bars side by side, the highest (or `top`) filling the plot; at most MOST_BARS of them."""
    shown = list(zip(labels, values, strict=False))[:MOST_BARS]
    known = [value for _, value in shown if value is not None]
    highest = top if top is not None else max(known, default=0) or 1
    total = sum(value for value in values if value is not None) or 1
    step = 100 / max(1, len(shown))
    drawn = []
    for place, (label, value) in enumerate(shown):
        height = 0.0 if value is None else 38 * min(1.0, value / highest)
        share = None if value is None else (value / total if as_counts else value)
        text = "no samples" if value is None else f"{value:,.0f} ({share:.1%})" if as_counts else f"{value:.1%}"
        drawn.append(
            Bar(label, text, round(place * step + 0.1 * step, 3), round(0.8 * step, 3), round(40 - height, 3), round(height, 3), share)
        )
    return drawn


def confidence_labels(bins: int) -> list[str]:
    """ "0.90 to 0.95" for each bin of the confidence histogram."""
    return [f"{place / bins:.2f} to {(place + 1) / bins:.2f}" for place in range(bins)]
