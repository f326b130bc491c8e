"""What the scorers that read a candidate's answers to the probes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gpuworker.core.probes import Vicinity, vicinity_of
from gpuworker.core.protocols import CandidateView, Estimate, TargetView

NO_PROBES = "There are no labelled probes for this kind of samples and these labels."
NOT_PROBED = "The model has not answered the labelled probes."

F64 = NDArray[np.float64]


def rightness(vicinity: Vicinity, candidates: Sequence[CandidateView]) -> tuple[list[int], F64]:
    """Indexes of the candidates that answered the probes, and (M', R) 1 where the answer is right.

    Raises ValueError for answers to other probes or over other labels.
    """
    labels = vicinity.probes.labels
    tables = {index: table for index, view in enumerate(candidates) if (table := view.probe_log_probs) is not None}
    if any(len(table) != len(labels) for table in tables.values()) or len({table.shape[1] for table in tables.values()}) > 1:
        raise ValueError("candidates of one search must share one label space and one set of probes")
    right = np.array([table.argmax(1) == labels for table in tables.values()], dtype=np.float64)
    return list(tables), right.reshape(len(tables), len(labels))


def weighted(target: TargetView, candidates: Sequence[CandidateView], weights: Callable[[Vicinity], F64]) -> list[Estimate]:
    """Every candidate's share of right answers to the probes under weights (R,) that sum to 1."""
    vicinity = vicinity_of(target)
    if vicinity is None:
        return [Estimate(None, why=NO_PROBES)] * len(candidates)
    answers = [Estimate(None, why=NOT_PROBED)] * len(candidates)
    probed, right = rightness(vicinity, candidates)
    for index, value in zip(probed, right @ weights(vicinity), strict=True):
        answers[index] = Estimate(float(np.clip(value, 0.0, 1.0)))
    return answers
