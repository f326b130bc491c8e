"""Predictions against labels: by hand, and only where the owner lets them be read."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from accounts.models import Team, User
from search.labelling import confirmation_calibrates, confirmation_refresh, round_of
from search.labelling_models import GivenLabel
from search.labelling_probes import confirmation_give, confirmation_take_back
from search.labelling_residuals import LEAST_LABELS, residuals_for_calibration, residuals_of
from search.models import Search

pytestmark = pytest.mark.django_db


def label_first(search: Search, person: User, count: int) -> None:
    """Every third label goes against the first model; its sample was drawn twice as often as the others."""
    votes = round_of(search).contest.votes[0]
    for item in range(count):
        against = item % 3 == 0
        label = (int(votes[item]) + against) % len(search.labels)
        GivenLabel.objects.create(search=search, person=person, item=item, label=label, weight=0.5 if against else 1.0)
    confirmation_refresh(search=search)


def test_the_measured_accuracy_weighs_rare_samples_more_by_hand(alice: User, finished: Search) -> None:
    label_first(finished, alice, 12)
    first = residuals_of(round_of(finished))[0]
    weights = np.array([0.5, 1.0, 1.0] * 4)
    share = weights / weights.sum()
    measured = 8 / 10
    assert first.measured == pytest.approx(measured)
    assert first.error == pytest.approx(np.sqrt((share**2 * np.where(weights == 1, 0.2**2, 0.8**2)).sum()))
    assert first.off == pytest.approx(0.9 - measured)
    assert (first.n, first.search) == (12, finished.pk)


def test_too_few_labels_or_another_metric_say_nothing(alice: User, finished: Search) -> None:
    label_first(finished, alice, LEAST_LABELS - 1)
    assert residuals_of(round_of(finished)) == []
    GivenLabel.objects.create(search=finished, person=alice, item=30, label=0, weight=1.0)
    assert len(residuals_of(round_of(finished))) == 3
    finished.metric = {"kind": "macro_f1"}
    assert residuals_of(round_of(finished)) == []


def test_calibration_reads_only_what_the_owner_lets_it(alice: User, finished: Search) -> None:
    label_first(finished, alice, 12)
    assert list(residuals_for_calibration(Search.objects.all())) == []
    confirmation_calibrates(search=finished, actor=alice, calibrates=True)
    assert [row.version for row in residuals_for_calibration(Search.objects.all())] == [
        row.version_id for row in finished.candidates.order_by("position")
    ]
    shutil.rmtree(finished.sample_set.folder)
    assert list(residuals_for_calibration(Search.objects.all())) == []


def test_samples_that_are_probes_are_left_out_as_long_as_they_are(alice: User, team: Team, finished: Search) -> None:
    label_first(finished, alice, 60)
    confirmation_calibrates(search=finished, actor=alice, calibrates=True)
    confirmation_give(search=finished, team=team, actor=alice)
    assert list(residuals_for_calibration(Search.objects.all())) == []
    confirmation_take_back(search=finished, actor=alice)
    assert len(list(residuals_for_calibration(Search.objects.all()))) == 3
