import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuworker.core.probes import ProbeSpace, competence, fit_space
from gpuworker.core.probes.algebra import FARTHEST, logistic, principal_axes
from gpuworker.core.protocols import ProbeView
from tests.core.probes.worlds import world


def test_axes_of_points_on_a_line():
    line = np.linspace(-1, 1, 41)[:, None]
    rows = np.concatenate([3 * line, -7 * line + 2, np.full((41, 1), 4.0)], axis=1)
    points = principal_axes(rows, 2, 0.0)(rows)
    assert np.abs(np.corrcoef(points[:, 0], line[:, 0])[0, 1]) == pytest.approx(1)
    assert points[:, 1] == pytest.approx(0, abs=1e-3)


def test_wide_and_tall_tables_have_the_same_axes():
    rows = np.random.default_rng(0).normal(size=(30, 12)) * np.arange(1, 13)
    tall = principal_axes(rows, 4, 0.1)(rows)
    wide = principal_axes(np.concatenate([rows, np.zeros((30, 40))], axis=1), 4, 0.1)(np.concatenate([rows, np.zeros((30, 40))], axis=1))
    np.testing.assert_allclose(np.abs(tall), np.abs(wide), atol=1e-4)


def test_many_columns_take_the_short_way_to_the_same_axes():
    rows = np.random.default_rng(1).normal(size=(900, 800)) @ np.diag(1 + 5 * (np.arange(800) < 8))
    points = principal_axes(rows + rows[:, :1], 5, 0.0)(rows + rows[:, :1])
    spread = points.T @ points
    assert np.abs(spread - np.diag(np.diag(spread))).max() < 1e-3 * spread.max()


def test_what_hardly_varies_among_the_probes_does_not_outweigh_the_rest():
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(200, 4))
    rows[:, 3] = 1e-4 * rng.normal(size=200)
    other = rng.normal(size=(50, 4))
    axes = principal_axes(rows, 4, 1e-3 * rows.std())
    assert np.abs(axes.standard(other)).max() == FARTHEST
    assert np.linalg.norm(axes(other), axis=1).max() < 4 * np.linalg.norm(axes(rows), axis=1).max()


def test_a_space_is_stored_and_read_back():
    made = world(0)
    space = fit_space(made.target.probes)
    again = ProbeSpace.from_arrays(space.arrays())
    features = made.target.features
    np.testing.assert_array_equal(again.cells(again.points(features)), space.cells(space.points(features)))
    assert sum(array.nbytes for array in space.arrays().values()) == 4 * (12 * 12 + 2 * 12 + len(space.centers) * 12)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 999))
def test_the_order_of_the_probes_does_not_matter(seed):
    made = world(seed % 7, models=3)
    probes, order = made.target.probes, np.random.default_rng(seed).permutation(len(made.target.probes.labels))
    here = fit_space(probes)
    there = fit_space(ProbeView(probes.features[order], probes.labels[order], probes.publishers[order]))
    assert sorted(map(tuple, np.round(here.centers, 3))) == sorted(map(tuple, np.round(there.centers, 3)))


def test_the_number_of_cells_follows_the_probes():
    features = np.random.default_rng(3).normal(size=(6000, 4)).astype(np.float32)
    labels = np.zeros(6000, dtype=np.int64)
    sizes = [len(fit_space(ProbeView(features[:n], labels[:n], labels[:n])).centers) for n in (1, 30, 400, 6000)]
    assert sizes == [1, 1, 20, 256]


def test_features_of_another_encoder_are_refused():
    with pytest.raises(ValueError, match="features"):
        fit_space(world(0).target.probes).points(np.zeros((3, 13), np.float32))


def test_numbers_that_are_none_do_not_spread():
    made = world(0)
    features = made.target.features.copy()
    features[0] = [np.nan, np.inf, -np.inf, *features[0, 3:]]
    assert np.isfinite(fit_space(made.target.probes).points(features)).all()


def test_competence_by_hand():
    right = np.array([[1, 1, 0, 0], [0, 0, 0, 1]])
    cells = np.array([0, 0, 0, 2])
    found = competence(right, cells, 3)
    # (right in the cell + 3 overall) / (probes in the cell + 3)
    np.testing.assert_allclose(found, [[(2 + 1.5) / 6, 1.5 / 3, 1.5 / 4], [0.75 / 6, 0.75 / 3, (1 + 0.75) / 4]])


def test_labels_that_did_not_occur_keep_a_thousandth():
    points = np.array([[-1.0], [-2.0], [1.0], [2.0]])
    found = logistic(points, np.array([0, 0, 2, 2]), 1.0)(points, 4)
    assert found.sum(1) == pytest.approx(1)
    assert found[:, [1, 3]] == pytest.approx(0.001 / 1.004)
    assert found[0, 0] > 0.7
    alone = logistic(points, np.array([1, 1, 1, 1]), 1.0)(points, 3)
    assert alone[:, 1] == pytest.approx(1.001 / 1.003)
