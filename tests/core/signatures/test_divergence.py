import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpuworker.core.signatures.divergence import hellinger_sq, histogram, jsd, minmax, normalised

LN2 = np.log(2)


def test_disjoint_supports_are_ln_2_apart():
    assert jsd(np.array([0.5, 0.5, 0, 0]), np.array([0, 0, 0.25, 0.75])) == pytest.approx(LN2, abs=1e-12)


def test_a_hand_made_divergence():
    # m = (.75, .25): KL((1,0)||m) = ln(4/3); KL((.5,.5)||m) = .5 ln(2/3) + .5 ln 2
    expected = (np.log(4 / 3) + 0.5 * np.log(2 / 3) + 0.5 * np.log(2)) / 2
    assert jsd(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(expected, abs=1e-12)


def test_hellinger_of_disjoint_supports_is_one():
    assert hellinger_sq(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1.0)


counts = hnp.arrays(np.int64, 12, elements=st.integers(0, 50))


@given(counts, counts)
def test_hellinger_bounds_the_divergence(a, b):
    p, q = normalised(a), normalised(b)
    distance, h2 = float(jsd(p, q)), float(hellinger_sq(p, q))
    assert 0 <= distance <= LN2
    assert LN2 * h2 - 1e-9 <= distance <= h2 + 1e-9
    assert distance == pytest.approx(float(jsd(q, p)), abs=1e-12)


def test_one_global_minimum_and_maximum_for_all_columns():
    assert minmax(np.array([[0.0, 10.0], [5.0, 2.5]])).tolist() == [[0.0, 1.0], [0.5, 0.25]]


def test_a_constant_array_falls_into_the_first_bin():
    found = histogram(np.full((4, 3), 7))
    assert found[0] == 12
    assert found.sum() == 12


def test_values_that_are_no_numbers_are_left_out():
    assert histogram(np.array([[0.0, np.nan], [np.inf, 1.0]])).sum() == 2


def test_the_whole_float_range_does_not_overflow():
    found = histogram(np.array([np.finfo(np.float64).min, 0.0, np.finfo(np.float64).max]))
    assert found.sum() == 3
    assert found[0] == found[50] == found[99] == 1
