import numpy as np
import pytest
from scipy.linalg import sqrtm

from gpuworker.core import scorers, signatures
from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.core.scorers.feature_space import AXES, feature_space
from gpuworker.core.scorers.fid import LEAST_VARIANCE, frechet
from gpuworker.core.scorers.mmd import discrepancy, embedded

RNG = np.random.default_rng(0)


def sketch(rows):
    return signatures.compute("image", features=rows.astype(np.float32))


def test_frechet_of_two_lines_by_hand():
    # Means 0 and 3, standard deviations 1 and 2: 3^2 + (1 - 2)^2
    a, b = np.array([[-1.0], [0.0], [1.0]]), np.array([[1.0], [3.0], [5.0]])
    assert frechet(a, b) == pytest.approx(10, abs=1e-3)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_against_the_matrix_square_root():
    a, b = RNG.normal(size=(60, 5)) @ RNG.normal(size=(5, 5)), RNG.normal(size=(40, 5)) + 1
    cov_a, cov_b = (np.cov(x.T) + LEAST_VARIANCE * np.eye(5) for x in (a, b))
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert frechet(a, b) == pytest.approx(expected)
    assert frechet(a, b) == pytest.approx(frechet(b, a))


def test_a_single_row_has_a_place_but_no_spread():
    assert frechet(np.zeros((1, 2)), np.array([[3.0, 4.0]])) == pytest.approx(25)


def test_discrepancy_against_the_kernel_itself():
    a, b = RNG.normal(size=(50, 3)), RNG.normal(size=(40, 3)) * 1.5 + 0.8
    median = 4.0

    def kernel(x, y):
        return np.exp(-((x[:, None] - y[None]) ** 2).sum(2) / median)

    def off_diagonal(x):
        table = kernel(x, x)
        return (table.sum() - np.trace(table)) / (len(x) * (len(x) - 1))

    expected = off_diagonal(a) + off_diagonal(b) - 2 * kernel(a, b).mean()
    frequencies = RNG.standard_normal((3, 20_000)) * np.sqrt(2 / median)
    assert discrepancy(embedded(a, frequencies), embedded(b, frequencies)) == pytest.approx(expected, abs=0.01)
    assert expected > 0.1


def test_the_kernel_is_as_wide_as_the_median_distance():
    rows = np.random.default_rng(2).normal(size=(60, 6))
    target, candidates = TargetView(60, sketch(rows)), [CandidateView(sketch(rows[::2] * 1.5 + 1))]
    space = feature_space(target, candidates)
    ours, theirs = space.target, space.candidates[0]
    squares = ((ours[:, None] - np.concatenate([ours, theirs[:8]])[None]) ** 2).sum(2)
    median = np.median(squares[squares > 1e-9])

    def mean_kernel(x, y, leave_out=0):
        table = np.exp(-((x[:, None] - y[None]) ** 2).sum(2) / median)
        return (table.sum() - leave_out) / (table.size - leave_out)

    expected = mean_kernel(ours, ours, 60) + mean_kernel(theirs, theirs, 30) - 2 * mean_kernel(ours, theirs)
    (found,) = scorers.FUNCTIONS["mmd"](target, candidates)
    assert found.value == pytest.approx(expected, abs=0.03)
    assert expected > 0.15


def test_small_sets_of_one_distribution_are_not_apart_on_average():
    frequencies = RNG.standard_normal((3, 256))
    sizes = [(5, 8), (30, 100)]
    for n, m in sizes:
        values = [
            discrepancy(embedded(RNG.normal(size=(n, 3)), frequencies), embedded(RNG.normal(size=(m, 3)), frequencies)) for _ in range(300)
        ]
        assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(300)


@pytest.mark.parametrize("key", ["mmd", "fid"])
def test_nearer_features_are_nearer_whatever_their_units(key):
    units = 10.0 ** np.arange(-3, 5)
    base = np.random.default_rng(1).normal(size=(400, 8))
    target = TargetView(100, sketch(base[:100] * units))
    moved = [CandidateView(sketch((base[100 * i : 100 * i + 100] + shift * np.eye(8)[0]) * units)) for i, shift in ((1, 0), (2, 2), (3, 5))]
    values = [estimate.value for estimate in scorers.FUNCTIONS[key](target, moved)]
    assert 2 * values[0] < values[1] < values[2]


@pytest.mark.parametrize("key", ["mmd", "fid"])
def test_features_of_another_kind_are_not_compared(key):
    target = TargetView(50, sketch(RNG.normal(size=(50, 8))))
    found = scorers.FUNCTIONS[key](target, [CandidateView(sketch(RNG.normal(size=(50, width)))) for width in (8, 9)])
    assert found[0].value is not None
    assert found[1].value is None
    assert "another kind" in found[1].why


@pytest.mark.parametrize("key", ["mmd", "fid"])
def test_sets_that_never_vary_are_compared_too(key):
    target = TargetView(40, sketch(np.ones((40, 4))))
    same, other = scorers.FUNCTIONS[key](target, [CandidateView(sketch(np.full((40, 4), value))) for value in (1.0, 5.0)])
    assert same.value == pytest.approx(0, abs=1e-6)
    assert other.value > 0.1
    (equal,) = scorers.FUNCTIONS[key](target, [CandidateView(target.signature)])
    assert equal.value == pytest.approx(0, abs=1e-6)


def test_the_space_has_few_axes_and_the_first_is_the_longest():
    rows = RNG.normal(size=(120, 60))
    space = feature_space(TargetView(120, sketch(rows)), [CandidateView(sketch(rows + 5)), CandidateView({})])
    assert space.target.shape == (120, AXES)
    assert space.candidates[1] is None
    both = np.concatenate([space.target, space.candidates[0]])
    assert both.std(0).argmax() == 0
    assert abs(space.target[:, 0].mean() - space.candidates[0][:, 0].mean()) > 1
