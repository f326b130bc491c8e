"""`modelshop zoo` against a running server, and a search among what it published, on the samples that it held out."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from accounts.models import ApiToken, Scope, Team, User
from catalog.dispatch import CALIBRATE
from catalog.models import ModelVersion, VersionState
from catalog.probe_models import ProbeSlice
from jobs.models import Job
from modelshop import cli
from search.models import Search, SearchState
from search.samplesets import sampleset_create
from search.services import search_start
from tests.catalog.makers import upload
from tests.pipeline.worlds import board, taking_jobs
from tests.zoo.folder import write_folder
from uploads.models import Purpose

pytestmark = pytest.mark.django_db(transaction=True)
DATA = os.environ.get("MODELSHOP_DATA", "")
MODELS = 5


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def token_of(user: User) -> str:
    return ApiToken.issue(user, name="zoo", scopes=[Scope.CATALOG_READ, Scope.CATALOG_WRITE], expires=None)[1]


@pytest.fixture
def tokens(alice: User, operator: User) -> list[str]:
    return ["--token", token_of(alice), "--curator-token", token_of(operator)]


@pytest.fixture
def worker() -> Iterator[None]:
    with taking_jobs():
        yield


def until_idle() -> None:
    """Until nothing is left that anybody waits for: calibrations go on, and give way."""
    while Job.objects.live().exclude(kind=CALIBRATE).exists():
        threading.Event().wait(0.1)


def searched_among(
    live_server: LiveServer, tokens: list[str], alice: User, team: Team, folder: Path, data: Path, scenario: str, task: str, held: str
) -> Search:
    """Publish a task without one domain, drop that domain's samples, and search."""
    where = ["--url", live_server.url, *tokens, "--team", team.slug]
    what = ["--data", str(data), "--scenario", scenario, "--task", task, "--models", str(MODELS), "--hold-out", held]
    assert cli.main(["zoo", *where, *what, "--samples", str(folder)]) == 0
    versions = ModelVersion.objects.filter(model__team=team)
    assert {version.state for version in versions} == {VersionState.PUBLISHED} and len(versions) == MODELS
    assert ProbeSlice.objects.approved().count() == MODELS
    until_idle()
    [file] = folder.iterdir()
    samples = sampleset_create(owner=alice, name=held, uploads=[upload(alice, file.name, file.read_bytes(), Purpose.SAMPLES).pk])
    until_idle()
    samples.refresh_from_db()
    assert samples.state == "ready", f"{samples.error_title} {samples.error_detail}"
    search = search_start(owner=alice, sample_set=samples)
    until_idle()
    search.refresh_from_db()
    assert search.state == SearchState.FINISHED and search.samples_done == samples.n, board(search)
    assert (search.probes["answered"], search.verdict["method"]) == (MODELS, "anchor"), search.probes
    assert all(row.predicted is not None and row.low < row.high for row in search.candidates.all())
    assert search.verdict["sentence"]
    return search


def test_a_folder_becomes_a_catalog_that_can_be_searched(
    live_server: LiveServer, tokens: list[str], worker: None, alice: User, team: Team, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_folder(tmp_path / "data", rows=480)
    search = searched_among(live_server, tokens, alice, team, tmp_path / "held", data, "text", "notes", "notes_garden")
    told = capsys.readouterr().err
    assert "5 models are published" in told and "samples without labels" in told and "is right on" in told
    assert set(search.candidates.values_list("version__model__task", flat=True)) == {"notes"}


@pytest.mark.parametrize(("arguments", "said"), [
    (["--scenario", "text", "--task", "absent"], "Tasks found: moods, notes."),
    (["--scenario", "text", "--hold-out", "notes_garden"], "--hold-out needs one task"),
    (["--scenario", "text", "--task", "notes", "--hold-out", "garden"], "notes has no domain garden"),
    (["--scenario", "text", "--data", "absent"], "absent is no folder"),
    (["--scenario", "text", "--token", ""], "There is no API token"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    data = write_folder(tmp_path / "data", rows=40)
    known = ["zoo", "--data", str(data), "--token", "x", "--team", "vision", "--url", "http://127.0.0.1:9"]
    assert cli.main([*known, *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="MODELSHOP_DATA names no folder of data")
@pytest.mark.parametrize(("scenario", "task", "held"), [
    ("activity", "umafall", "umafall_wrist"),
    ("images", "pacs", "pacs_cartoon"),
    ("text", "reviews", "reviews_kitchen_housewares"),
    ("nlp", "intents_common", "intents_common_hwu64"),
    ("matching", "em", "walmart_amazon"),
])  # fmt: skip
@pytest.mark.timeout(600)
def test_each_scenario_from_real_data_to_a_finished_search(
    live_server: LiveServer, tokens: list[str], worker: None, alice: User, team: Team, tmp_path: Path, scenario: str, task: str, held: str
) -> None:
    searched_among(live_server, tokens, alice, team, tmp_path / "held", Path(DATA), scenario, task, held)
