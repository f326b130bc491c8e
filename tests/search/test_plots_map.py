"""The map of samples against a reference sample: what it says, what it draws, and why there may be none."""

from __future__ import annotations

import numpy as np
import pytest

from gpuworker.core.separability import separability
from search.plots.sample_map import SIDES, SampleMap, heights, map_plot, sample_map, shares, told

DRAW = np.random.default_rng(7)
NEAR = DRAW.normal(size=(64, 20)).astype(np.float32)
ALIKE = DRAW.normal(size=(96, 20)).astype(np.float32)
FAR = ALIKE + np.float32(3)
CHANCE = np.array([0.05, 0.1, 0.15, 0.2], np.float32)


def _map(samples: np.ndarray, reference: np.ndarray) -> SampleMap:
    found = sample_map({"features.sketch": samples}, {"features.sketch": reference, "features.self_separability": CHANCE})
    assert isinstance(found, SampleMap)
    return found


def test_sets_drawn_alike_lie_over_each_other() -> None:
    found = _map(ALIKE, NEAR)
    assert abs(float(np.median(found.samples[:, 0]) - np.median(found.reference[:, 0]))) < 0.4
    assert found.distance < 0.3


def test_sets_that_differ_stand_apart_by_the_measured_distance() -> None:
    found = _map(FAR, NEAR)
    assert found.samples[:, 0].min() > 0 > found.reference[:, 0].max()
    assert found.distance == separability(NEAR, FAR) == 1.0
    assert shares(found.samples)[0] == "0.0 %"
    assert shares(found.reference)[2:] == ("0.0 %", "0.0 %")


def test_height_knows_nothing_of_who_belongs_where() -> None:
    """Along the one direction in which both vary, whatever parts them."""
    one, other = NEAR.copy() * 0.1, ALIKE.copy() * 0.1
    spread = np.linspace(-1, 1, 64, dtype=np.float32), np.linspace(-1, 1, 96, dtype=np.float32)
    # Several features in step: one alone would be scaled to the spread of all others.
    one[:, :5] += spread[0][:, None]
    other[:, :5] += spread[1][:, None]
    other[:, 5:] += 3
    low, high = heights(one, other)
    assert abs(float(np.corrcoef(low, spread[0])[0, 1])) > 0.95
    assert abs(float(np.corrcoef(high, spread[1])[0, 1])) > 0.95


@pytest.mark.parametrize(
    ("own", "theirs", "cause"),
    [
        ({}, {"features.sketch": NEAR}, "Your samples have no probe features"),
        ({"features.sketch": NEAR[:1]}, {"features.sketch": NEAR}, "Your samples have no probe features"),
        ({"features.sketch": NEAR}, {}, "published without a reference sample"),
        ({"features.sketch": NEAR}, {"features.sketch": NEAR[:, :5]}, "of another kind"),
    ],
)
def test_without_a_map_the_plot_says_why(own: dict[str, np.ndarray], theirs: dict[str, np.ndarray], cause: str) -> None:
    plot = map_plot(sample_map(own, theirs))
    assert cause in plot.note
    assert plot.rows == plot.marks == ()


def test_every_point_is_drawn_and_the_table_counts_them_all() -> None:
    plot = map_plot(_map(FAR, NEAR))
    assert sum(mark.css == "point" for mark in plot.marks) == len(FAR)
    assert sum(mark.css == "point reference" for mark in plot.marks) == len(NEAR)
    assert [row[0] for row in plot.rows] == list(SIDES)
    for column in (1, 2):
        assert sum(float(row[column].removesuffix(" %")) for row in plot.rows) == pytest.approx(100, abs=0.3)
    for mark in plot.marks:
        assert 0 <= mark.x <= plot.width
        assert 0 <= mark.y <= plot.height


def test_the_distance_is_told_beside_what_chance_gives() -> None:
    empty = np.zeros((2, 2), np.float32)
    assert told(SampleMap(empty, empty, 0.1, 0.15)).startswith("Your samples cannot be told from the reference sample: distance 0.10 of 1,")
    assert told(SampleMap(empty, empty, 0.4, 0.15)).startswith("Your samples differ from the reference sample: distance 0.40 of 1,")
    assert "too small to say" in told(SampleMap(empty, empty, 0.4, None))


def test_a_feature_that_never_varies_breaks_nothing() -> None:
    still = np.ones((10, 4), np.float32)
    plot = map_plot(_map(still, still))
    assert all(np.isfinite((mark.x, mark.y)).all() for mark in plot.marks)
