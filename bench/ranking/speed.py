"""How long the prior order of a very large catalog takes: samples in, scores of 100,000 models out, nothing executed."""

from __future__ import annotations

import time

import numpy as np

from bench.ranking.arrays import Pool, Scored
from bench.ranking.episodes import MAIN_SIZE, catalog
from gpuworker.core.probes import ProbeFits, Vicinity, competence, fit_space
from gpuworker.core.protocols import ProbeView
from gpuworker.core.ranking.prior import prior_scores

MODELS = 100_000
QUERIES = 40
SHORTLIST = 64


def prior_times(pool: Pool, scored: Scored, seed: int) -> list[float]:
    """Milliseconds of QUERIES searches, each with its own samples: their place among the probes, all scores, the first SHORTLIST models.

    The stored competences are those of the pool's models, each repeated with its own noise, as float32.
    """
    _, probes = catalog(pool, scored, "seen", seed)
    view = ProbeView(pool.features[probes], pool.label[probes], pool.domain[probes])
    space = fit_space(view)
    cells = space.cells(space.points(view.features))
    right = (pool.log_probs[:, probes].argmax(2) == view.labels).astype(np.float32)
    table = competence(right, cells, len(space.centers))
    rng = np.random.default_rng(seed)
    stored = table[rng.integers(0, len(table), MODELS)] + rng.normal(0, 0.05, (MODELS, table.shape[1])).astype(np.float32)
    times = []
    for _ in range(QUERIES + 1):
        samples = scored.features[rng.permutation(len(scored.features))[:MAIN_SIZE]]
        started = time.perf_counter()
        scores = prior_scores(Vicinity(samples, view, ProbeFits(view, space)), stored)
        np.argpartition(-scores, SHORTLIST)
        times.append((time.perf_counter() - started) * 1000)
    return times[1:]
