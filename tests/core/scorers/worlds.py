"""Simulated crowds of models with shared errors, whose true accuracies are known."""

import numpy as np

from gpuworker.core.protocols import CandidateView


def crowd(rng, models, samples, labels, *, shared=0.3, spread=0.8, ability=1.0):
    """labels (n,), answers (M, n). Samples differ in difficulty; a `shared` part of wrong answers falls on one trap label per sample."""
    truth = rng.integers(0, labels, samples)
    trap = (truth + rng.integers(1, labels, samples)) % labels
    chance = 1 / (1 + np.exp(rng.normal(0, 1.2, samples)[None] - rng.normal(ability, spread, models)[:, None]))
    right = rng.random((models, samples)) < 1 / labels + (1 - 1 / labels) * chance
    other = (truth + rng.integers(1, labels, (models, samples))) % labels
    wrong = np.where(rng.random((models, samples)) < shared, trap, other)
    return truth, np.where(right, truth, wrong)


def log_probs(answers, labels, confidence=0.9):
    """(n,) hard answers -> (n, C) log-probabilities with one confidence."""
    low = np.log((1 - confidence) / (labels - 1))
    return np.where(np.eye(labels)[answers] > 0, np.log(confidence), low).astype(np.float32)


def views(answers, labels, signature=None):
    return [CandidateView(signature or {}, log_probs(row, labels)) for row in answers]
