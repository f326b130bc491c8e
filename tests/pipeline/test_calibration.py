"""How wrong predictions with probes are is measured in the background, kept with the choice of probes, and used by searches."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Team, User
from catalog import dispatch, services
from catalog.models import ModelVersion
from catalog.probe_models import ProbeSetVersion
from gpuworker.core.metrics import Metric
from gpuworker.core.probes.calibration import LEVELS, Calibration
from gpuworker.core.protocols import CandidateView, ProbeView
from gpuworker.pipeline import calibration
from gpuworker.tasks import run_kind
from jobs.models import Job, JobState
from search.labelling import confirmation_calibrates, confirmation_refresh, round_of
from search.labelling_models import GivenLabel
from search.metrics import calibration_key
from search.models import SampleSet, SearchState
from search.services import search_start
from tests.catalog.makers import LABELS
from tests.pipeline.test_probes import approved, reference, run_jobs
from tests.pipeline.worlds import sample_set, searched, work

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = 100
KEYS = {"accuracy", "balanced_accuracy", "macro_f1", *(f"f1:{label}" for label in LABELS)}


@pytest.fixture
def models(team: Team, alice: User, dan: User, operator: User) -> list[ModelVersion]:
    """Four models with a slice each; all have answered, nothing is calibrated yet."""
    owners = [("one", alice), ("two", dan), ("three", alice), ("four", dan)]
    made = [approved(team, owner, name, seed, given=reference(seed, ROWS)) for seed, (name, owner) in enumerate(owners)]
    run_jobs()
    return made


@pytest.fixture
def shots(alice: User) -> SampleSet:
    return sample_set(alice, 60)


def waiting() -> list[Job]:
    return list(Job.objects.filter(kind="catalog.calibrate", state=JobState.QUEUED))


def test_it_is_measured_once_after_the_last_run(models: list[ModelVersion], shots: SampleSet, alice: User) -> None:
    [job] = waiting()
    assert work(job).state == JobState.SUCCEEDED
    made = ProbeSetVersion.objects.get(pk=job.subject_id)
    assert made.n == 4 * ROWS and set(made.calibration) == KEYS
    for row in made.calibration.values():
        table = Calibration.of_document(row["table"])
        assert table.publishers == 4 and table.targets >= 8 and set(table.coverage) == {"every", "leaders", "winner"}
        assert row["levels"] == list(LEVELS) and row["models"] == 4
    search = searched(alice, shots)
    assert search.probes["digest"] == made.digest and search.probes["calibration"] == made.table("accuracy")
    assert waiting() == [], "nothing has changed since"


def test_a_search_asks_for_it_when_answers_have_changed(
    models: list[ModelVersion], shots: SampleSet, team: Team, dan: User, alice: User
) -> None:
    [job] = waiting()
    work(job)
    before = ProbeSetVersion.objects.get(pk=job.subject_id).calibration
    approved(team, dan, "five", 9, choice={"choice": "signature_only"})
    search = searched(alice, shots)
    assert search.probes["calibration"] == before["accuracy"]["table"], "it takes what there is"
    [again] = waiting()
    assert again.subject_id == job.subject_id and work(again).state == JobState.SUCCEEDED
    after = ProbeSetVersion.objects.get(pk=job.subject_id).calibration
    assert after["accuracy"]["models"] == 5 and after["accuracy"]["answers"] != before["accuracy"]["answers"]


def test_a_cost_matrix_is_measured_once_a_search_asked_for_it(models: list[ModelVersion], shots: SampleSet, alice: User) -> None:
    [job] = waiting()
    work(job)
    size = len(LABELS)
    metric = {"kind": "cost", "labels": LABELS[::-1], "costs": [[abs(row - column) for column in range(size)] for row in range(size)]}
    search = searched(alice, shots, metric=metric)
    assert search.probes["digest"] and search.probes["calibration"] == {}, "it goes on without"
    [again] = waiting()
    work(again)
    made = ProbeSetVersion.objects.get(pk=again.subject_id)
    assert set(made.calibration) == {*KEYS, calibration_key(metric)}
    table = Calibration.of_document(made.table(calibration_key(metric)))
    assert table.metric.kind == "cost" and table.targets >= 8
    assert searched(alice, shots, metric=metric).probes["calibration"] == made.table(calibration_key(metric))
    searched(alice, shots, metric={"kind": "macro_f1"})
    assert waiting() == [], "nothing is lacking"


def test_what_people_labelled_counts_where_the_owner_lets_it(models: list[ModelVersion], shots: SampleSet, alice: User) -> None:
    [job] = waiting()
    work(job)
    before = ProbeSetVersion.objects.get(pk=job.subject_id).calibration
    search = searched(alice, shots)
    votes = round_of(search).contest.votes[0]
    for item in range(20):
        GivenLabel.objects.create(search=search, person=alice, item=item, label=(int(votes[item]) + 1) % 3, weight=1.0)
    confirmation_refresh(search=search)
    searched(alice, shots)
    assert waiting() == [], "nobody has agreed"
    confirmation_calibrates(search=search, actor=alice, calibrates=True)
    searched(alice, shots)
    [again] = waiting()
    assert work(again).state == JobState.SUCCEEDED
    after = ProbeSetVersion.objects.get(pk=job.subject_id).calibration
    assert after["accuracy"]["table"]["targets"] == before["accuracy"]["table"]["targets"] + 1
    assert after["macro_f1"]["table"]["targets"] == before["macro_f1"]["table"]["targets"]


def test_its_message_finds_first_what_people_wait_for(models: list[ModelVersion], shots: SampleSet, alice: User) -> None:
    [job] = waiting()
    search = search_start(owner=alice, sample_set=shots)
    run_kind(job.kind, job.pk, job.attempt)
    search.refresh_from_db()
    job.refresh_from_db()
    assert (search.state, job.state, job.attempt) == (SearchState.FINISHED, JobState.SUCCEEDED, 1)
    assert search.finished and job.started and search.finished < job.started
    run_kind("search.run", *Job.objects.values_list("pk", "attempt").get(kind="search.run"))
    assert search.events.filter(kind="finished").count() == 1, "its own message, which comes later, does nothing"


def test_it_gives_way_and_keeps_what_it_has(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    [job] = waiting()
    begun: list[int] = []
    real = calibration.calibrations

    def spy(probes: ProbeView, candidates: list[CandidateView], metrics: list[Metric], **more: Any) -> list[Calibration]:
        begun.append(len(metrics))
        if len(begun) == 2:
            Job.objects.create(kind="search.run", subject_id=1, label="somebody's", lease_until=job.lease_until)
        return real(probes, candidates, metrics, **more)

    monkeypatch.setattr(calibration, "calibrations", spy)
    assert work(job).state == JobState.QUEUED, "handed back"
    assert set(ProbeSetVersion.objects.get(pk=job.subject_id).calibration) == {"accuracy"}
    Job.objects.filter(kind="search.run").delete()
    assert work(job).state == JobState.SUCCEEDED
    assert set(ProbeSetVersion.objects.get(pk=job.subject_id).calibration) == KEYS
    assert begun == [1, len(KEYS) - 1, len(KEYS) - 1], "only what was under way was begun again"


def test_of_withdrawn_probes_nothing_is_measured(models: list[ModelVersion], alice: User) -> None:
    [job] = waiting()
    services.reference_withdraw(version=models[0], actor=alice)
    assert work(job).state == JobState.SUCCEEDED
    assert ProbeSetVersion.objects.get(pk=job.subject_id).calibration == {}


def test_a_choice_for_everybody_is_measured_too(models: list[ModelVersion], team: Team, alice: User, charlie: User) -> None:
    key = models[0].probe_slice.set_key
    assert calibration.calibrations_start(key) == 1, "the team's"
    services.probe_sharing_set(team=team, public=True, actor=alice)
    assert calibration.calibrations_start(key) == 1, "the public choice is the same one"
    [job] = waiting()
    work(job)
    assert calibration.calibrations_start(key) == 0


def test_runs_for_other_labels_do_not_hold_it_back(models: list[ModelVersion]) -> None:
    Job.objects.filter(kind="catalog.calibrate").delete()
    again = dispatch.probe_run(piece=models[0].probe_slice)
    same = Job.objects.create(kind="catalog.probe_run", subject_id=models[1].probe_slice.pk, label="same", lease_until=again.lease_until)
    assert work(again).state == JobState.SUCCEEDED and waiting() == [], "the last run of the set will ask for it"
    same.delete()
    Job.objects.create(kind="catalog.probe_run", subject_id=10**9, label="another set", lease_until=again.lease_until)
    assert work(dispatch.probe_run(piece=models[0].probe_slice)).state == JobState.SUCCEEDED
    assert len(waiting()) == 1
