"""What searches with the same probes share."""

import numpy as np

from gpuworker.core.probes import ProbeFits, fits
from gpuworker.core.probes.stack import fit_stack
from tests.core.probes.worlds import world


def test_a_stack_is_known_again_by_labels_and_answers_alone(monkeypatch):
    made = world(0)
    probes, answers = made.target.probes, [view.probe_log_probs for view in made.candidates]
    shared = ProbeFits(probes)
    kept = shared.stack(probes.labels, answers)
    assert shared.stack(probes.labels.copy(), [table.copy() for table in answers]) is kept
    turned = (probes.labels + 1) % 4
    changed = [*answers[:-1], answers[-1] - 1]
    monkeypatch.setattr(fits, "MOST_STACKS", 3)
    for labels, tables in ((turned, answers), (probes.labels, changed), (probes.labels, answers[1:])):
        other = shared.stack(labels, tables)
        assert other is not kept
        alone = fit_stack(shared.points, labels, tables)
        np.testing.assert_array_equal(other.fit.coefficients, alone.fit.coefficients)
    assert shared.stack(turned, answers) is not kept and shared.stack(probes.labels, answers) is not kept, "the oldest is gone"


def test_a_stack_without_models_goes_by_the_features():
    probes = world(1).target.probes
    shared = ProbeFits(probes)
    found = shared.stack(probes.labels, [])(shared.points, [], 4)
    assert found.shape == (300, 4) and (found.argmax(1) == probes.labels).mean() > 0.5
