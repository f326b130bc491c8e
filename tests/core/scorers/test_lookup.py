"""Hash tables of histograms, and min-wise hashes of words."""

import numpy as np
import pytest
from scipy.stats import norm

from gpuworker.core import scorers, signatures
from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.core.scorers.lsh_jsd import HASHES, TABLES, WIDTH, retrieved
from gpuworker.core.signatures.divergence import hellinger_sq, jsd

PROMISED = {0.01: 1.000, 0.05: 0.989, 0.10: 0.748, 0.20: 0.210}


def at_distance(rng, h2):
    """Two random histograms of squared Hellinger distance h2."""
    p, q = rng.dirichlet(np.ones(100), 2)
    a, b = np.sqrt(p), np.sqrt(q)
    b -= (a @ b) * a
    b /= np.linalg.norm(b)
    # 1 - cos of the angle is H2; both stay on the sphere, and are taken as they are: hashing does not ask for positive entries.
    angle = np.arccos(1 - h2)
    return p, a, np.cos(angle) * a + np.sin(angle) * b


@pytest.mark.parametrize(("h2", "promised"), PROMISED.items())
def test_the_probability_of_being_found_follows_from_width_hashes_and_tables(h2, promised):
    u = np.sqrt(2 * h2)  # Euclidean distance of the square roots
    one = 1 - 2 * norm.cdf(-WIDTH / u) - 2 * u / (np.sqrt(2 * np.pi) * WIDTH) * (1 - np.exp(-((WIDTH / u) ** 2) / 2))
    assert 1 - (1 - one**HASHES) ** TABLES == pytest.approx(promised, abs=5e-4)


@pytest.mark.parametrize(("h2", "promised"), PROMISED.items())
def test_histograms_are_found_as_often_as_promised(h2, promised):
    rng = np.random.default_rng(0)
    found = []
    while len(found) < 1500:
        p, a, b = at_distance(rng, h2)
        if b.min() < -0.05:
            continue
        q = np.maximum(b, 0) ** 2
        q /= q.sum()
        if abs(float(hellinger_sq(p, q)) - h2) < 0.05 * h2:
            found.append(retrieved(p, q))
    assert np.mean(found) == pytest.approx(promised, abs=0.04)


def test_near_histograms_are_told_exactly_and_far_ones_not_at_all():
    rng = np.random.default_rng(1)
    values = rng.random((200, 8))
    target = TargetView(200, signatures.compute("image", values=values))
    candidates = [CandidateView(signatures.compute("image", values=x)) for x in (values[::-1], rng.random((200, 8)), values**12)]
    exact = [estimate.value for estimate in scorers.FUNCTIONS["jsd_hist"](target, candidates)]
    same, near, far = scorers.FUNCTIONS["lsh_jsd"](target, candidates)
    assert (same.value, near.value) == (0.0, exact[1])
    assert exact[2] > 0.1
    assert far.value is None
    assert "near" in far.why


def test_found_but_too_far_and_near_but_missed_are_not_told():
    rng = np.random.default_rng(2)
    seen = set()
    while len(seen) < 4:
        p, q = (rng.dirichlet(np.full(100, 0.8)) for _ in range(2))
        q = p + rng.uniform(0.3, 0.9) * (q - p)
        counts = [np.rint(1e6 * x).astype(np.int64) for x in (p, q)]
        p, q = (x / x.sum() for x in counts)
        distance, hit = float(jsd(p, q)), retrieved(p, q)
        (found,) = scorers.FUNCTIONS["lsh_jsd"](view(counts[1]), [CandidateView(view(counts[0]).signature)])
        assert found.value == (pytest.approx(distance) if hit and distance < 0.1 else None)
        seen.add((hit, distance < 0.1))


def view(counts):
    return TargetView(10, {"value_histogram.counts": counts})


def test_words_are_not_looked_up_as_values():
    target = TargetView(1, signatures.compute("text", words=[["red"]]))
    (found,) = scorers.FUNCTIONS["lsh_jsd"](target, [CandidateView(target.signature)])
    assert found.value is None
    assert "words" in found.why


def test_shared_words_are_counted_once_however_often_they_occur():
    def signature(first, last, times):
        return signatures.compute("text", words=[[f"word{i}"] * times for i in range(first, last)])

    target = TargetView(300, signature(0, 300, 1))
    same, third, none = scorers.FUNCTIONS["minhash_jaccard"](
        target, [CandidateView(signature(*bounds)) for bounds in ((0, 300, 5), (150, 450, 2), (300, 500, 1))]
    )
    assert (same.value, none.value) == (1.0, 0.0)
    assert third.value == pytest.approx(1 / 3, abs=0.12)
