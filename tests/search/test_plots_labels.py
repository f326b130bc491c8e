"""Names beside dots: none over another, over a dot, over the line or out of the frame."""

from __future__ import annotations

import numpy as np

from search.plots.labels import DOWN, LETTER, UP, Box, place_labels
from search.plots.svg import Mark

FRAME = Box(0, 0, 400, 300)


def _box(mark: Mark) -> Box:
    return Box(mark.x, mark.y - UP, mark.x + LETTER * len(mark.label), mark.y + DOWN)


def test_a_single_name_stands_below_on_the_right() -> None:
    (name,) = place_labels([(100, 100, "Digits")], [(100, 100)], [], FRAME)
    assert (name.x, name.y, name.label) == (108, 116, "Digits")


def test_at_the_right_edge_a_name_stands_on_the_left() -> None:
    (name,) = place_labels([(390, 100, "Digits")], [(390, 100)], [], FRAME)
    assert _box(name).right < 390


def test_names_of_a_crowd_meet_nothing() -> None:
    draw = np.random.default_rng(3)
    dots = [(float(x), float(y)) for x, y in draw.uniform((20, 20), (380, 280), (40, 2))]
    line = sorted(dots)[:5]
    shown = place_labels([(*dot, f"model number {index}") for index, dot in enumerate(dots)], dots, line, FRAME)
    assert 5 < len(shown) < len(dots)
    boxes = [_box(name) for name in shown]
    for index, box in enumerate(boxes):
        assert FRAME.holds(box)
        assert not any(box.meets(other) for other in boxes[:index])
        assert not any(box.left < x < box.right and box.top < y < box.bottom for x, y in dots)


def test_a_name_does_not_cross_the_line() -> None:
    line = [(100.0, 100.0), (300.0, 190.0)]
    (name,) = place_labels([(100, 100, "A long name of a model")], [(100, 100)], line, FRAME)
    assert _box(name).bottom < 100 or _box(name).right < 100


def test_a_name_without_room_is_left_out() -> None:
    assert place_labels([(100, 100, "x" * 100)], [(100, 100)], [], FRAME) == []
