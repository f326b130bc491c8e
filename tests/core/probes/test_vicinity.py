import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuworker.core.probes import Vicinity, competence, settle, vicinity_of
from gpuworker.core.probes.vicinity import MOST_WEIGHT
from gpuworker.core.protocols import ProbeView, TargetView
from tests.core.probes.worlds import world


def around(made):
    return vicinity_of(made.target)


def on_a_line(samples, probes, labels=None, publishers=None):
    """A vicinity whose points are given outright, one coordinate each."""
    labels = np.zeros(len(probes), dtype=np.int64) if labels is None else np.asarray(labels)
    publishers = np.arange(len(probes)) if publishers is None else np.asarray(publishers)
    found = Vicinity(np.zeros((len(samples), 1), np.float32), ProbeView(np.zeros((len(probes), 1), np.float32), labels, publishers))
    found.points = np.asarray(samples, dtype=float)[:, None]
    found.fits.points = np.asarray(probes, dtype=float)[:, None]
    return found


@pytest.mark.parametrize("weights", ["cell_weights", "neighbour_weights", "importance_weights"])
def test_weights_sum_to_one(weights):
    found = getattr(around(world(0)), weights)
    assert found.shape == (300,)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)


def test_cell_weights_give_what_stored_competences_give():
    made = world(1)
    vicinity = around(made)
    right = np.stack([view.probe_log_probs.argmax(1) == made.target.probes.labels for view in made.candidates]).astype(float)
    stored = competence(right, vicinity.probe_cells, len(vicinity.histogram))
    np.testing.assert_allclose(right @ vicinity.cell_weights, stored @ vicinity.histogram, atol=1e-6)


def test_cell_weights_by_hand():
    vicinity = on_a_line([0.0], [0.0, 1.0, 2.0])
    vicinity.probe_cells, vicinity.histogram = np.array([0, 0, 1]), np.array([0.25, 0.75])
    # q_k / (R_k + 3) for the own cell, and every cell's three invented probes shared out over all
    shared = (3 * 0.25 / 5 + 3 * 0.75 / 4) / 3
    np.testing.assert_allclose(vicinity.cell_weights, [0.05 + shared, 0.05 + shared, 0.75 / 4 + shared])


def test_neighbours_by_hand():
    vicinity = on_a_line([0.0, 3.0], [1.0, 3.0], labels=[0, 1])
    mean = (1 + 3 + 0 + 2) / 4
    near, far = np.exp(-1 / mean), np.exp(-3 / mean)
    first = near / (near + far)
    second = np.exp(-2 / mean) / (1 + np.exp(-2 / mean))
    np.testing.assert_allclose(vicinity.neighbours.kernel.toarray(), [[first, 1 - first], [second, 1 - second]])
    np.testing.assert_allclose(vicinity.neighbour_weights, [(first + second) / 2, 1 - (first + second) / 2])
    np.testing.assert_allclose(vicinity.near_teacher(3)[0], np.array([first + 0.05, 1.05 - first, 0.05]) / 1.15)


def test_only_the_twenty_nearest_count():
    vicinity = on_a_line([0.0], np.arange(1.0, 31.0))
    assert (vicinity.neighbours.kernel.toarray()[0] > 0).tolist() == [True] * 20 + [False] * 10
    assert vicinity.neighbours.distances[0].tolist() == list(range(1, 21))


def test_samples_like_the_probes_weigh_them_alike_and_others_are_noticed():
    rng = np.random.default_rng(0)
    alike = on_a_line(rng.normal(size=400), rng.normal(size=400))
    assert alike.effective_probes > 350
    apart = on_a_line(rng.normal(5, 0.3, 400), rng.normal(size=400))
    assert apart.effective_probes < 40
    assert apart.distance > 3 * alike.distance
    half = on_a_line(rng.normal(size=400), np.concatenate([rng.normal(size=200), rng.normal(30, 1, 200)]))
    assert half.importance_weights[:200].sum() > 0.9
    assert half.ratios.max() <= MOST_WEIGHT
    assert half.ratios.min() >= 1 / MOST_WEIGHT


def test_distance_is_one_where_samples_lie_as_publishers_lie_to_each_other():
    rng = np.random.default_rng(1)
    vicinity = on_a_line(rng.normal(size=2000), rng.normal(size=2000), publishers=np.arange(2000) % 4)
    assert vicinity.distance == pytest.approx(0.75, abs=0.05)  # three quarters of the probes are other publishers'
    alone = on_a_line(rng.normal(size=2000), rng.normal(size=2000), publishers=np.zeros(2000, dtype=np.int64))
    assert alone.distance == pytest.approx(1, abs=0.05)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 999))
def test_the_order_of_the_samples_does_not_matter(seed):
    made = world(seed % 5)
    order = np.random.default_rng(seed).permutation(made.target.n)
    here, there = around(made), vicinity_of(TargetView(made.target.n, {}, made.target.features[order], made.target.probes))
    for name in ("cell_weights", "neighbour_weights", "importance_weights"):
        np.testing.assert_allclose(getattr(here, name), getattr(there, name), atol=1e-5)
    np.testing.assert_allclose(here.linear_teacher(4)[order], there.linear_teacher(4), atol=2e-3)
    np.testing.assert_allclose(here.near_teacher(4)[order], there.near_teacher(4), atol=1e-9)


def test_one_sample_and_one_label_are_enough_for_finite_figures():
    made = world(2, samples=1)
    probes = made.target.probes
    one = ProbeView(probes.features, np.zeros_like(probes.labels), probes.publishers)
    for vicinity in (around(made), vicinity_of(TargetView(1, {}, made.target.features, one))):
        assert np.isfinite(vicinity.linear_teacher(4)).all()
        assert np.isfinite([vicinity.effective_probes, vicinity.distance]).all()
        assert vicinity.importance_weights.sum() == pytest.approx(1)


def test_a_settled_target_shares_its_vicinity():
    made = world(3)
    settled = settle(made.target)
    assert vicinity_of(settled) is settled.vicinity
    assert settle(settled).vicinity is settled.vicinity
    fits = around(made).fits
    assert settle(made.target, fits).vicinity.space is fits.space
    assert settle(TargetView(4, {})).vicinity is None
    assert vicinity_of(TargetView(0, {}, np.zeros((0, 12), np.float32), made.target.probes)) is None
