"""How far a model's confidence is from its accuracy on the reference sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from gpuworker.core.signatures.inputs import Parts, SignatureInput
from gpuworker.core.signatures.outputs import FLOOR, max_confidence

ECE_BINS = 15
LOG_TEMPERATURE = (-3.0, 3.0)


def calibration(given: SignatureInput) -> Parts:
    """temperature: (1,) in [e^-3, e^3], least negative log-likelihood (Guo et al., ICML 2017); ece, ece_scaled: (1,) in [0, 1].

    ece: expected calibration error over 15 bins as the model answers; ece_scaled: after dividing by the temperature.
    """
    if given.log_probs is None or given.labels is None or not len(given.labels):
        return {}
    logits = np.maximum(given.log_probs.astype(np.float64), FLOOR)
    labels = given.labels
    every = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / np.exp(log_temperature), axis=1)[every, labels].mean())

    temperature = float(np.exp(minimize_scalar(loss, bounds=LOG_TEMPERATURE, method="bounded").x))
    right = logits.argmax(1) == labels
    scaled = max_confidence(np.asarray(log_softmax(logits / temperature, axis=1)))
    return {
        "temperature": np.array([temperature]),
        "ece": np.array([_ece(max_confidence(logits), right)]),
        "ece_scaled": np.array([_ece(scaled, right)]),
    }


def _ece(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gap = np.bincount(bins, weights=right - confidence, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(right))
