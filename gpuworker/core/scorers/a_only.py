"""Competence on labelled probes alone: nothing is run on the samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpuworker.core.probes import vicinity_of
from gpuworker.core.protocols import CandidateView, Estimate, TargetView
from gpuworker.core.scorers.own_cells import own_cells
from gpuworker.core.scorers.probe_answers import NO_PROBES, rightness

WEAKER = "From the publisher's own reference sample, as it was not run on the labelled probes: a weaker estimate."


def a_only(target: TargetView, candidates: Sequence[CandidateView]) -> list[Estimate]:
    """value in [0, 1]: mean of A1 (cells) and A2 (neighbours), the accuracy expected from the answers to the probes.

    A candidate without such answers gets an estimate from its own reference sample with a warning in `why`; it counts for no more
    than the median of those with answers, since nobody but its publisher has seen its labels.
    """
    vicinity = vicinity_of(target)
    if vicinity is None:
        return [Estimate(None, why=NO_PROBES)] * len(candidates)
    probed, right = rightness(vicinity, candidates)
    values = np.clip(right @ ((vicinity.cell_weights + vicinity.neighbour_weights) / 2), 0.0, 1.0)
    cap = float(np.median(values)) if len(values) else 1.0
    known = dict(zip(probed, values, strict=True))
    n_labels = max(
        [int(vicinity.probes.labels.max()) + 1, *(table.shape[1] for v in candidates if (table := v.probe_log_probs) is not None)]
    )
    answers = []
    for index, view in enumerate(candidates):
        if index in known:
            answers.append(Estimate(float(known[index])))
            continue
        own = own_cells(vicinity.space, vicinity.histogram, view.signature, n_labels)
        why = "The model has neither answered the labelled probes nor a labelled reference sample." if own is None else WEAKER
        answers.append(Estimate(None if own is None else min(own, cap), why=why))
    return answers
