"""The prior over stored competences: what it computes, and that a catalog of 100,000 models fits into one product."""

from __future__ import annotations

import numpy as np

from gpuworker.core.probes import ProbeFits, Vicinity, fit_space
from gpuworker.core.probes.space import competence
from gpuworker.core.ranking.prior import prior_scores
from gpuworker.core.scorers.a_only import a_only
from tests.core.probes.worlds import world

CATALOG = 100_000


def test_stored_competences_order_a_catalog_of_100_000() -> None:
    small = world(models=40)
    assert small.target.features is not None and small.target.probes is not None
    probes = small.target.probes
    space = fit_space(probes, cells=32)
    around = Vicinity(small.target.features, probes, ProbeFits(probes, space))
    votes = np.stack([view.probe_log_probs.argmax(1) for view in small.candidates if view.probe_log_probs is not None])
    right = (votes == probes.labels).astype(np.float32)
    stored = competence(right, around.probe_cells, 32)
    # Whatever was published first: a model's row is its own, so that adding others computes nothing of it anew.
    np.testing.assert_array_equal(stored[:5], competence(right[:5], around.probe_cells, 32))

    catalog = np.tile(stored, (CATALOG // len(stored), 1))
    found = prior_scores(around, catalog)
    assert found.shape == (CATALOG,) and catalog.dtype == np.float32 and catalog.nbytes == 4 * 32 * CATALOG

    near = np.bincount(around.probe_cells, around.neighbour_weights, 32)
    expected = (right @ around.cell_weights + stored @ near) / 2
    np.testing.assert_allclose(found[: len(stored)], expected, atol=1e-5)
    np.testing.assert_array_equal(found.reshape(-1, len(stored)), np.tile(found[: len(stored)], (CATALOG // len(stored), 1)))

    exact = np.array([estimate.value for estimate in a_only(small.target, small.candidates)])
    assert np.corrcoef(found[: len(stored)], exact)[0, 1] > 0.95, "the order of a_only, but for what lies within a cell"
