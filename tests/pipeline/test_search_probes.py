"""Searches that rest on labelled probes: what they say of it, and that nothing which happens to the probes meanwhile disturbs them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from django.template.loader import render_to_string

from accounts.models import Team, User
from catalog import services
from catalog.models import ModelVersion
from catalog.probe_models import ProbeAnswers, ProbeSetVersion, ProbeSlice
from gpuworker.core.modalities import image
from gpuworker.core.modalities.batches import load_batch
from gpuworker.core.probes import fits
from gpuworker.core.probes.calibration import UNCALIBRATED
from gpuworker.pipeline import grounds, probes
from gpuworker.pipeline.lease import run_job
from gpuworker.pipeline.probes import features_path, sample_features
from gpuworker.pipeline.search import run_search, search_ended
from jobs.models import Job, JobState
from search.board import header_context
from search.models import SampleSet, Search
from search.samplesets import sampleset_delete
from search.services import search_start
from tests.pipeline.test_probes import N, approved, run_jobs
from tests.pipeline.worlds import Killed, board, kill_at_write, queued, sample_set, searched, work
from tests.search.test_pages import words

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def models(team: Team, alice: User, dan: User, operator: User) -> list[ModelVersion]:
    """Three models with a slice each, all run on all of them."""
    made = [approved(team, owner, name, seed) for seed, (owner, name) in enumerate([(alice, "one"), (dan, "two"), (alice, "three")])]
    run_jobs()
    return made


@pytest.fixture
def shots(alice: User) -> SampleSet:
    return sample_set(alice, 200)


def header(search: Search) -> str:
    search.refresh_from_db()
    return words(render_to_string("search/_board_header.html", header_context(search)))


def killed(search: Search, monkeypatch: pytest.MonkeyPatch, number: int) -> Job:
    """The search's job, whose worker died at that write."""
    job = queued(search)
    with monkeypatch.context() as patch:
        kill_at_write(patch, number, after=True)
        with suppress(Killed):
            run_job(job.pk, job.attempt, run_search, search_ended)
    job.refresh_from_db()
    assert job.state == JobState.RUNNING
    return job


def taken_up(job: Job) -> None:
    assert job.requeue()
    job.refresh_from_db()
    assert work(job).state == JobState.SUCCEEDED


def test_prior_and_board_follow_the_probes(models: list[ModelVersion], shots: SampleSet, alice: User) -> None:
    search = searched(alice, shots)
    assert (search.probes["n"], search.probes["sources"], search.probes["answered"], search.probes["asked"]) == (3 * N, 3, 3, 3)
    assert (search.verdict["method"], search.verdict["metric"]) == ("anchor", "accuracy")
    for row in search.candidates.all():
        assert row.method == "anchor" and row.predicted == row.scores["anchor"]["value"]
        assert row.prior_scores["a_only"]["value"] is not None
    assert "Rests on 180 labelled probes from 3 sources." in header(search)


def test_without_probes_it_says_that_it_is_weaker(models: list[ModelVersion], shots: SampleSet, alice: User) -> None:
    for version in models:
        services.reference_withdraw(version=version, actor=alice)
    search = searched(alice, shots)
    assert search.probes == {"why": grounds.NOBODY} and search.verdict["method"] == "dawid_skene"
    told = header(search)
    assert "Rests on the agreement of the models only, which is weaker" in told and "Nobody whose probes you may use" in told


@pytest.mark.parametrize("number", [2, 4, 9])
def test_a_resumed_run_sees_the_same_probes(
    models: list[ModelVersion], shots: SampleSet, team: Team, dan: User, alice: User, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    undisturbed = searched(alice, shots)
    search = search_start(owner=alice, sample_set=shots)
    job = killed(search, monkeypatch, number)
    late = approved(team, dan, "late", 7)
    run_jobs()
    made = ProbeSetVersion.objects.get(digest=undisturbed.probes["digest"])
    made.calibration = {"accuracy": {"table": UNCALIBRATED.document() | {"every": [5.0] * 8}}}
    made.save()
    taken_up(job)
    search.refresh_from_db()
    assert search.probes == undisturbed.probes and board(search) == board(undisturbed)
    fresh = searched(alice, shots)
    assert fresh.probes["sources"] == 4 and late.pk in fresh.probes["versions"], "a new search takes what there is now"


def test_withdrawn_probes_are_gone_from_a_search_that_goes_on(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_start(owner=alice, sample_set=shots)
    job = killed(search, monkeypatch, 4)
    services.reference_withdraw(version=models[0], actor=alice)
    taken_up(job)
    told = header(search)
    assert (search.probes["n"], search.probes["lost"], search.probes["sources"]) == (2 * N, N, 2)
    assert "120 labelled probes from 2 sources" in told and "60 more were withdrawn since the search began." in told
    assert search.verdict["method"] == "anchor"


def test_a_search_whose_probes_are_all_withdrawn_goes_on_without(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_start(owner=alice, sample_set=shots)
    job = killed(search, monkeypatch, 4)
    for version in models:
        services.reference_withdraw(version=version, actor=alice)
    taken_up(job)
    assert "were withdrawn meanwhile" in header(search)
    assert search.probes == {"why": grounds.WITHDRAWN} and search.verdict["method"] == "dawid_skene"


def test_trouble_with_the_probes_never_fails_a_search(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(pieces: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(probes, "choose", broken)
    search = searched(alice, shots)
    assert search.probes == {"why": grounds.BROKEN} and search.verdict["method"] == "dawid_skene"


def test_a_stored_calibration_makes_the_intervals(models: list[ModelVersion], shots: SampleSet, alice: User) -> None:
    first = searched(alice, shots)
    assert "has not been measured yet" in header(first)
    wide = {name: [30.0] * 8 for name in ("every", "leaders", "pairs")}
    table = {"accuracy": {"table": UNCALIBRATED.document() | wide}}
    ProbeSetVersion.objects.filter(digest=first.probes["digest"]).update(calibration=table)
    second = searched(alice, shots)
    assert "has not been measured yet" not in header(second)
    spans = [[row.high - row.low for row in search.candidates.order_by("version")] for search in (first, second)]
    assert all(new > old for old, new in zip(*spans, strict=True))


def test_samples_keep_their_features_beside_the_batch(alice: User) -> None:
    samples = sample_set(alice, 40)
    path = features_path(samples)
    expected = image.features(load_batch(samples.batch_path.read_bytes()))
    assert path.exists() and samples.size_bytes >= path.stat().st_size + samples.batch_path.stat().st_size
    found = sample_features(samples)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-3)
    path.unlink()
    np.testing.assert_array_equal(sample_features(samples), found)
    assert path.exists(), "older sets get theirs on first use"
    probes.features_write(samples, np.zeros((40, 2), np.float16), "image-probe/0")
    np.testing.assert_array_equal(sample_features(samples), found)
    sampleset_delete(sample_set=samples, actor=alice)
    assert not path.exists()


def test_a_choice_of_probes_is_read_and_fitted_once(
    models: list[ModelVersion], shots: SampleSet, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int]] = []

    def counted(module: ModuleType, name: str, size: Callable[[Any], int]) -> None:
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: done.append((name, size(given))) or real(*given))

    monkeypatch.setattr(probes, "_KEPT", OrderedDict())
    counted(probes, "_features", lambda given: given[1].n)
    counted(fits, "fit_space", lambda given: len(given[0].labels))
    counted(fits, "fit_stack", lambda given: len(given[1]))
    first = board(searched(alice, shots))
    assert done == [("_features", 3 * N), ("fit_space", 3 * N), ("fit_stack", 3 * N)]
    assert board(searched(alice, shots)) == first and len(done) == 3
    ProbeAnswers.objects.filter(version=models[0], piece=models[1].probe_slice).update(log_probs=_same_label(models[1].probe_slice))
    again = board(searched(alice, shots))
    assert again != first and done[3:] == [("fit_stack", 3 * N)], "other answers to the same probes"
    monkeypatch.setattr(probes, "_KEPT", OrderedDict())
    assert board(searched(alice, shots)) == again
    del done[:]
    services.reference_withdraw(version=models[0], actor=alice)
    searched(alice, shots)
    assert [size for _, size in done] == [2 * N] * 3
    assert [found.features.shape[0] for found in probes._KEPT.values()] == [2 * N], "nothing is left of what was withdrawn"


def _same_label(piece: ProbeSlice) -> bytes:
    """Answers that name one label for every row."""
    return np.tile(np.log([0.98, *[0.02 / (len(piece.labels) - 1)] * (len(piece.labels) - 1)]), (piece.n, 1)).astype("<f2").tobytes()
