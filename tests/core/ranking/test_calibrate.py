"""Tables of errors: by hand, in worlds where coverage can be counted, and at the edges."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gpuworker.core.metrics import ACCURACY, Metric
from gpuworker.core.probes import settle
from gpuworker.core.probes.calibration import LEVELS, MEASURED_ON, UNCALIBRATED, Calibration
from gpuworker.core.protocols import ProbeView
from gpuworker.core.ranking.board import board
from gpuworker.core.ranking.calibrate import Errors, calibrate, calibrations, confirmed_errors, errors_of, measured, pseudo_targets
from gpuworker.core.scorers.anchor import judge
from gpuworker.core.scorers.answers import ballots
from tests.core.probes.worlds import world


def judged(made):
    return judge(settle(made.target).vicinity, made.candidates, ballots(made.candidates))


def test_quantiles_weigh_targets_alike_whatever_their_number_of_candidates():
    many = Errors(1, np.full(900, 2.0), np.full(9, 2.0), 1.0)
    few = Errors(2, np.full(10, 1.0), np.full(1, 1.0), 1.0)
    every, leaders, pairs = measured([many, few], [1.0, 1.1])
    assert every.tolist() == leaders.tolist() == pairs.tolist() == [1, 2, 2, 2, 2, 2, 2, 2]
    assert measured([many, few], [1.0, 9.1])[0].tolist() == [1, 1, 1, 1, 1, 1, 2, 2]


def test_errors_are_over_the_scale_best_prediction_first():
    found = judged(world(1, models=6))
    truth = found.predicted - 0.1 * np.arange(6)
    errors = errors_of(found, truth, 3, 1.5)
    order = np.argsort(-found.predicted)
    assert errors.every == pytest.approx(0.1 * order / found.scale[order])
    assert (errors.publisher, errors.distance) == (3, 1.5)
    assert (errors.pairs >= 0).all()


def test_every_publisher_plays_and_its_models_stay_away_where_it_is_removed():
    made = world(2, probes=400, models=16)
    probes = made.target.probes
    targets = list(pseudo_targets(probes, made.candidates))
    assert {target.publisher for target in targets} == {1, 2, 3, 4}
    for target in targets:
        assert not set(target.rows.tolist()) & set(target.pool.tolist())
        assert set(probes.publishers[target.rows]) == {target.publisher}
        if target.publisher not in probes.publishers[target.pool]:
            assert all(target.publisher not in made.candidates[index].publishers for index in target.models)
        else:
            assert len(target.models) == 16
    assert len([t for t in targets if t.publisher not in probes.publishers[t.pool]]) == 8


def test_the_table_is_the_same_whatever_the_order_of_candidates():
    made = world(3, probes=240, models=9)
    assert calibrate(made.target.probes, made.candidates) == calibrate(made.target.probes, made.candidates[::-1])


def test_several_metrics_in_one_go_are_what_each_is_alone():
    made = world(2, probes=160, models=6)
    metrics = [Metric(), Metric("macro_f1"), Metric("balanced_accuracy")]
    together = calibrations(made.target.probes, made.candidates, metrics)
    assert together == [calibrate(made.target.probes, made.candidates, metric) for metric in metrics]
    assert together[0].every != together[1].every


def test_intervals_of_a_calibrated_catalog_hold_the_truth_of_other_targets():
    held, winners = [], []
    for seed in range(3):
        made = world(seed + 1, probes=240, models=10, samples=250)
        found = board(made.target, made.candidates, ("anchor",), calibration=calibrate(made.target.probes, made.candidates))
        within = [row.low <= truth <= row.high for row, truth in zip(found.rows, made.accuracy, strict=True)]
        held.append(np.mean(within))
        winners.append(within[found.order[0]])
    assert np.mean(held) > 0.8
    assert np.mean(winners) > 0.6


def test_coverage_is_counted_on_publishers_left_out():
    made = world(4, probes=400, models=12)
    table = calibrate(made.target.probes, made.candidates)
    assert set(table.coverage) == {"every", "leaders", "winner"}
    assert all(0 <= share <= 1 for share in table.coverage.values())
    assert (table.publishers, table.targets) == (4, len(list(pseudo_targets(made.target.probes, made.candidates))))
    assert np.isfinite(table.farthest)


def test_one_publisher_never_narrows_what_a_catalog_starts_with():
    made = world(5, probes=200, publishers=1, models=8)
    table = calibrate(made.target.probes, made.candidates)
    assert table.publishers == 1
    assert table.coverage == {}
    for name in ("every", "leaders", "pairs"):
        assert (np.array(getattr(table, name)) >= np.array(getattr(UNCALIBRATED, name))).all()


def test_without_answers_to_probes_the_starting_table_stays():
    made = world(6)
    silent = [replace(view, probe_log_probs=None) for view in made.candidates]
    assert calibrate(made.target.probes, silent, Metric("macro_f1")) == replace(UNCALIBRATED, metric=Metric("macro_f1"))
    few = ProbeView(*(part[:30] for part in (made.target.probes.features, made.target.probes.labels, made.target.probes.publishers)))
    assert calibrate(few, [replace(v, probe_log_probs=v.probe_log_probs[:30]) for v in made.candidates]) == UNCALIBRATED


def test_a_table_survives_its_document():
    costs = Metric("cost", costs=((0.0, 1.0), (2.0, 0.0)))
    for table in (UNCALIBRATED, replace(UNCALIBRATED, farthest=2.5, coverage={"every": 0.9}, metric=costs, targets=8, publishers=2)):
        assert Calibration.of_document(json.loads(json.dumps(table.document()))) == table


def test_tables_ascend():
    with pytest.raises(ValueError, match="ascending"):
        Calibration(tuple(reversed(UNCALIBRATED.every)), UNCALIBRATED.leaders, UNCALIBRATED.pairs)
    assert len(UNCALIBRATED.every) == len(LEVELS)
    assert UNCALIBRATED.quantile("leaders", 0.9) >= UNCALIBRATED.quantile("every", 0.9)


def test_tails_are_those_of_the_table_and_never_narrower_than_normal():
    normal = tuple(np.round([0.674, 0.842, 1.036, 1.282, 1.44, 1.645, 1.96, 2.326], 3).tolist())
    assert replace(UNCALIBRATED, pairs=normal).tail == pytest.approx(1)
    assert replace(UNCALIBRATED, pairs=(*normal[:-1], 2 * normal[-1])).tail == pytest.approx(2)
    assert replace(UNCALIBRATED, pairs=(0.1, 0.1, 0.1, 0.1, 0.1, 1.0, 1.0, 1.0)).tail == 1


def test_few_samples_widen_intervals_and_as_many_as_were_measured_on_do_not():
    """Errors that were measured on 250 samples hold the chance of so many already."""
    made = world(7, samples=MEASURED_ON, models=8)
    assert not judged(made).sampling.any()
    few = made.with_candidates([replace(view, log_probs=view.log_probs[:25]) for view in made.candidates])
    widths = []
    for one in (made, few):
        found = judged(one)
        estimates = found.estimates(8, UNCALIBRATED)
        # At an equal scale of error, what is left of the difference is chance.
        widths.append(np.mean([(e.high - e.low) / s for e, s in zip(estimates, found.scale, strict=True)]))
    assert widths[1] > widths[0]
    half = judged(made.with_candidates([replace(view, log_probs=view.log_probs[:125]) for view in made.candidates]))
    accuracy = half.predicted[0]
    assert half.sampling[0, 0] == pytest.approx(0.5 * accuracy * (1 - accuracy) / 125, rel=0.15)


def test_a_confirmed_search_counts_as_one_more_target_by_hand():
    table = replace(UNCALIBRATED, every=(1.0,) * len(LEVELS), leaders=(2.0,) * len(LEVELS))
    predicted = np.array([0.5, 0.9, 0.8, 0.7, 0.6, 0.4])
    seen = predicted - np.array([0.0, 0.5, 0.1, 0.1, 0.1, 0.2])
    errors = confirmed_errors(7, predicted, np.full(6, 0.2), seen, np.array([0.1, 0.3, 0.1, 0.0, 0.2, 0.0]), table)
    # The first five had twice the reach, so half the scale; what chance explains is taken out: 0.4 of 0.5, all of 0.1.
    np.testing.assert_allclose(errors.every, [0.4 / 0.1, 0.0, 1.0, 0.0, 0.0, 0.2 / 0.2], atol=1e-7)
    assert errors.publisher == -7 and len(errors.pairs) == 0
    made = world(3, models=6, samples=60)
    plain, more = (
        calibrations(made.target.probes, made.candidates, [ACCURACY, Metric("macro_f1")], confirmed=given) for given in ([], [errors] * 40)
    )
    assert more[0].targets == plain[0].targets + 40 and more[0].every[-1] > plain[0].every[-1]
    assert more[1] == plain[1], "accuracy alone was confirmed"
