import numpy as np
import pytest

from gpuworker.core import signatures
from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.core.scorers import FUNCTIONS

atc = FUNCTIONS["atc"]
C = 3


def sharpen(rng, labels, strength, samples_features):
    logits = rng.normal(size=(len(labels), C)) + strength * np.eye(C)[labels] * rng.random((len(labels), 1))
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32), samples_features


def scene(seed=0, n=400, n_reference=600, move=0.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, C, n_reference + n)
    log_probs, _ = sharpen(rng, labels, 4.0, None)
    features = rng.normal(size=(n_reference + n, 8)).astype(np.float32)
    features[n_reference:] += move
    reference = signatures.compute(
        "image", features=features[:n_reference], labels=labels[:n_reference], n_labels=C, log_probs=log_probs[:n_reference]
    )
    target = TargetView(n, signatures.compute("image", features=features[n_reference:]))
    truth = float((log_probs[n_reference:].argmax(1) == labels[n_reference:]).mean())
    return target, CandidateView(reference, log_probs[n_reference:]), truth


def test_the_share_above_the_threshold_by_hand():
    reference = {
        "atc_thresholds.max_confidence": np.array([0.75]),
        "atc_thresholds.max_confidence_replicates": np.full(200, 0.75, dtype=np.float32),
        "atc_thresholds.n": np.array([100]),
    }
    log_probs = np.log(np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4]], dtype=np.float32))
    (found,) = atc(TargetView(4, {}), [CandidateView(reference, log_probs)])
    assert found.value is None
    assert found.diagnostic == 0.5
    assert "4 samples" in found.why


def test_unshifted_samples_are_predicted_within_the_interval():
    held = []
    for seed in range(40):
        target, candidate, truth = scene(seed)
        (found,) = atc(target, [candidate])
        assert found.value is not None
        assert found.high - found.low < 0.25
        held.append(found.low <= truth <= found.high)
    assert np.mean(held) >= 0.85


def test_a_measured_shift_widens_the_interval_and_a_large_one_is_cannot_tell():
    sides = []
    for move in (0.0, 0.25):
        target, candidate, _ = scene(1, move=move)
        (found,) = atc(target, [candidate])
        sides.append((found.value - found.low, found.high - found.value))
    assert sides[1][0] > sides[0][0] + 0.04
    assert sides[1][1] > sides[0][1] + 0.04
    target, candidate, _ = scene(1, move=3.0)
    (found,) = atc(target, [candidate])
    assert found.value is None
    assert 0 <= found.diagnostic <= 1
    assert "too far" in found.why


def test_fewer_reference_rows_widen_the_interval():
    def width(rows):
        return np.mean(
            [f.high - f.low for s in range(8) for t, c, _ in [scene(s, n_reference=rows)] for f in atc(t, [c]) if f.low is not None]
        )

    assert width(60) > width(2000) + 0.02


@pytest.mark.parametrize(
    ("break_it", "cause"),
    [
        (lambda s, p: (s, p[:1]), "1 samples"),
        (lambda s, p: (s | {"atc_thresholds.n": np.array([9])}, p), "9 rows"),
        (lambda s, p: ({k: v for k, v in s.items() if not k.startswith("features")}, p), "probe features"),
        (lambda s, p: ({k: v for k, v in s.items() if not k.startswith("atc")}, p), "no labelled reference"),
        (lambda s, p: (s, np.full_like(p, np.log(1 / C))), "same confidence"),
        (lambda s, p: (s, np.where(np.arange(C) == 1, np.maximum(p, -0.1), p - 5).astype(np.float32)), "one label"),
        (lambda s, p: (s, np.where(np.arange(C) == 1, np.nan, p).astype(np.float32)), "not numbers"),
        (lambda s, p: (s, None), "not run"),
    ],
)
def test_what_it_cannot_know_it_does_not_say(break_it, cause):
    target, candidate, _ = scene(2)
    (found,) = atc(target, [CandidateView(*break_it(candidate.signature, candidate.log_probs))])
    assert found.value is None
    assert found.low is None
    assert cause in found.why
