"""What holds for every scorer, whatever it measures."""

from functools import lru_cache

import numpy as np
import pytest

from gpuworker.core import scorers, signatures, specs
from gpuworker.core.protocols import CandidateView, TargetView
from gpuworker.core.ranking.board import METHODS
from tests.core.scorers.worlds import crowd

C = 3
FORWARD = [key for key, spec in specs.SCORERS.items() if spec.cost == "forward"]


def test_every_listed_scorer_has_one_function():
    assert scorers.FUNCTIONS.keys() == specs.SCORERS.keys()


def test_the_board_shows_the_word_of_those_that_predict_accuracy():
    assert set(METHODS) == {key for key in FORWARD if specs.SCORERS[key].predicts_accuracy}


def test_confidence_never_stands_in_the_order_of_a_search_where_nobody_chose():
    """But for ATC, which has an interval of its own, and what publishers say, which only breaks ties."""
    assert {key for key, spec in specs.SCORERS.items() if spec.family == "confidence" and spec.default} == {"atc", "source_accuracy"}


@pytest.mark.parametrize("key", scorers.FUNCTIONS)
def test_a_missing_signature_is_cannot_tell_with_a_cause(key):
    found = scorers.FUNCTIONS[key](TargetView(40, {}), [CandidateView({}), CandidateView({})])
    assert len(found) == 2
    assert all(estimate.value is None and estimate.why for estimate in found)


@pytest.mark.parametrize("key", scorers.FUNCTIONS)
def test_no_candidates_give_no_estimates(key):
    assert scorers.FUNCTIONS[key](TargetView(40, {}), []) == []


def log_softmax(logits):
    return (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype(np.float32)


def reference(rng, modality, rows=90):
    """A whole behaviour signature of a publisher's sample."""
    labels = rng.integers(0, C, rows)
    given = {"values": rng.random((rows, 6)) ** rng.uniform(0.5, 3)}
    if modality == "text":
        given = {"words": [[f"w{word}" for word in rng.integers(0, rng.integers(20, 60), 8)] for _ in range(rows)]}
    features = (rng.normal(size=(rows, 10)) + 0.2 * rng.normal(size=10)).astype(np.float32)
    outputs = log_softmax(rng.normal(size=(rows, C)) + 2 * np.eye(C)[labels])
    return signatures.compute(modality, **given, features=features, labels=labels, n_labels=C, log_probs=outputs)


@lru_cache
def world(seed, modality, models=6, n=60):
    """A search whose candidates have run: what a scorer can hope for, without probes. target, tuple of candidates."""
    rng = np.random.default_rng(seed)
    _, answers = crowd(rng, models, n, C)
    outputs = log_softmax(rng.normal(size=(models, n, C)) + 2 * np.eye(C)[answers])
    candidates = [CandidateView(reference(rng, modality), rows) for rows in outputs]
    ours = {name: array for name, array in reference(rng, modality).items() if name.split(".")[0] in ("features", *PLAIN[modality])}
    return TargetView(n, ours, features=rng.normal(size=(n, 10)).astype(np.float32)), tuple(candidates)


PLAIN = {"image": ("value_histogram", "value_groups", "value_center"), "text": ("word_counts",)}
ASKED_OF_WORDS = {"word_jsd", "word_l2", "word_adaptivity", "minhash_jaccard"}
MAY_BE_SILENT = {"lsh_jsd"}


@pytest.mark.parametrize("modality", PLAIN)
@pytest.mark.parametrize("key", [key for key, spec in specs.SCORERS.items() if "probes" not in spec.needs])
def test_a_whole_signature_is_enough(key, modality):
    target, candidates = world(0, modality)
    found = scorers.FUNCTIONS[key](target, candidates)
    told = [estimate.value for estimate in found if estimate.value is not None]
    if (key in ASKED_OF_WORDS and modality != "text") or (key == "lsh_jsd" and modality == "text"):
        assert not told
        assert all(estimate.why for estimate in found)
        return
    assert len(told) == len(found) or key in MAY_BE_SILENT
    assert np.isfinite(told).all()
    if specs.SCORERS[key].scale == "accuracy":
        assert all(0 <= value <= 1 for value in told)


@pytest.mark.parametrize("key", scorers.FUNCTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_candidates_and_samples_does_not_matter(key, seed):
    target, candidates = world(seed, "image", models=5, n=40)
    rng = np.random.default_rng(seed)
    models, samples = rng.permutation(5), rng.permutation(40)
    here = scorers.FUNCTIONS[key](target, candidates)
    moved = TargetView(40, target.signature, features=target.features[samples])
    there = scorers.FUNCTIONS[key](moved, [CandidateView(candidates[m].signature, candidates[m].log_probs[samples]) for m in models])
    for place, model in enumerate(models):
        assert there[place].why == here[model].why
        assert there[place].value == (None if here[model].value is None else pytest.approx(here[model].value, abs=2e-3, rel=1e-3))


@pytest.mark.parametrize("key", FORWARD)
@pytest.mark.parametrize(
    "outputs",
    [
        np.log(np.array([[[0.5, 0.3, 0.2]]], dtype=np.float32)).repeat(4, 0),
        np.where(np.eye(C)[np.random.default_rng(1).integers(0, C, (4, 50))] > 0, 0.0, -np.inf).astype(np.float32),
        np.tile(np.array([0.0, -np.inf, -np.inf], dtype=np.float32), (4, 50, 1)),
        np.full((4, 50, C), -np.log(C), dtype=np.float32),
    ],
    ids=["one sample", "certain", "one label", "uniform"],
)
def test_extreme_answers_give_finite_figures(key, outputs):
    signature = reference(np.random.default_rng(2), "image")
    found = scorers.FUNCTIONS[key](TargetView(len(outputs[0]), {}), [CandidateView(signature, rows) for rows in outputs])
    for estimate in found:
        assert estimate.why or estimate.value is not None
        assert all(np.isfinite(figure) for figure in (estimate.value, estimate.diagnostic) if figure is not None)


@pytest.mark.parametrize("key", [key for key in FORWARD if specs.SCORERS[key].family == "confidence"])
def test_outputs_that_are_no_numbers_are_not_scored(key):
    target, candidates = world(3, "image")
    broken = candidates[1].log_probs.copy()
    broken[4] = np.nan
    found = scorers.FUNCTIONS[key](target, [candidates[0], CandidateView(candidates[1].signature, broken)])
    assert (found[1].value, found[1].diagnostic) == (None, None)
    assert "not numbers" in found[1].why
    assert found[0].value is not None


@pytest.mark.parametrize("key", [key for key in FORWARD if specs.SCORERS[key].needs & {"accuracy", "class_histogram"}])
def test_a_reference_of_another_label_space_is_not_used(key):
    target, candidates = world(4, "image")
    wider = np.concatenate([candidates[0].log_probs, np.full((60, 1), -20, dtype=np.float32)], axis=1)
    (found,) = scorers.FUNCTIONS[key](target, [CandidateView(candidates[0].signature, wider)])
    if key == "doc":
        assert found.value is not None  # reads no figure of a single label
    else:
        assert found.value is None
