"""The race replayed on answers that are known: who would have left, and whether the best was among them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.ranking.episodes import Episode
from gpuworker.core.probes.calibration import Calibration
from gpuworker.core.ranking import Finished, Measured, one_by_one, rank
from gpuworker.core.specs import DROP_LEVEL

SCORERS = ("anchor", "dawid_skene", "atc")
EQUAL = 1e-9


def replayed(episode: Episode, calibration: Calibration) -> dict[str, float]:
    """best_dropped: 1 where every best candidate left, else 0. saved: share of predictions never asked for. left: share of candidates
    that left. lost: best quality less the best quality among those that stayed."""
    outputs = [view.log_probs for view in episode.candidates]

    def predict(index: int, start: int, stop: int) -> NDArray[np.float32]:
        rows = outputs[index]
        assert rows is not None
        return rows[start:stop]

    views = [replace(view, log_probs=None) for view in episode.candidates]
    run = rank(episode.target, views, one_by_one(predict), scorers=SCORERS, calibration=calibration, drop=DROP_LEVEL)
    samples = np.zeros(len(outputs))
    left: tuple[int, ...] = ()
    for event in run:
        if isinstance(event, Measured):
            samples[event.candidate] = event.samples
        elif isinstance(event, Finished):
            left = event.board.left
    stayed = np.delete(episode.truth, left)
    lost = float(episode.truth.max() - stayed.max())
    return {
        "best_dropped": float(lost > EQUAL),
        "lost": lost,
        "saved": 1 - float(samples.sum()) / (len(outputs) * episode.target.n),
        "left": len(left) / len(outputs),
    }
