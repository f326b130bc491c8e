"""The panel of candidates on labelled probes: errors of a model are measured on the probes of others."""

import numpy as np
import pytest

from gpuworker.core.probes import Panel, panel_of
from tests.core.probes.test_vicinity import on_a_line


def answers(*votes):
    """Tables (R, 2) of log-probabilities, nearly sure of each vote."""
    return [np.log(np.where(np.eye(2)[list(row)] == 1, 0.9, 0.1)).astype(np.float32) for row in votes]


def test_a_model_whose_own_probes_are_the_whole_neighbourhood_is_judged_on_all_others():
    """All its own probes lie near the samples, those of others far: none of theirs has any weight."""
    vicinity = on_a_line([0.0], [0.0, 0.0, 9.0, 9.0], labels=[0, 1, 0, 1], publishers=[7, 7, 8, 8])
    vicinity.neighbour_weights = np.array([0.5, 0.5, 0.0, 0.0])
    own, other = Panel(vicinity, answers([1, 0, 0, 1], [1, 0, 0, 1]), 2, [(7,), (8,)]).confusion
    assert np.isfinite(own).all()
    assert own.sum(0) == pytest.approx(1)
    assert own[0, 0] > 0.6 and own[1, 1] > 0.6, "right on the probes of others"
    assert other[1, 0] > 0.6 and other[0, 1] > 0.6, "wrong on those near the samples"


def test_the_same_models_share_a_panel_and_others_get_their_own():
    vicinity = on_a_line([0.0], [0.0, 0.0, 9.0, 9.0], labels=[0, 1, 0, 1], publishers=[7, 7, 8, 8])
    first, second = answers([1, 0, 0, 1], [1, 0, 0, 1])
    kept = panel_of(vicinity, [first, second], 2, [(7,), ()])
    assert panel_of(vicinity, [first, second], 2, [(7,), ()]) is kept
    for tables, n_labels, own in (
        ([first], 2, [(7,)]),
        ([second, first], 2, [(7,), ()]),
        ([first, second.copy()], 2, [(7,), ()]),
        ([first, second], 2, [(8,), ()]),
    ):
        kept = panel_of(vicinity, [first, second], 2, [(7,), ()])
        other = panel_of(vicinity, tables, n_labels, own)
        assert other is not kept
        assert other.probe_votes.tolist() == Panel(vicinity, tables, n_labels, own).probe_votes.tolist()
        assert panel_of(vicinity, tables, n_labels, own) is other
