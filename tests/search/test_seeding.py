"""The demo catalog: made once, taken up again after a crash, and minding nobody's business but its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.auth import authenticate
from django.db import connection

from accounts.models import Membership, Role, Team, User
from catalog.models import ModelVersion, RegisteredModel, VersionState
from jobs.models import Job, JobState
from search import seeding
from search.models import SampleSet, SampleSetState
from search.seeding import SeedFailed, accounts, seed
from tests.pipeline.worlds import taking_jobs
from uploads.models import Upload

pytestmark = pytest.mark.django_db(transaction=True)
KEPT = ("digits-linear", "tumour-linear")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def worker() -> Iterator[None]:
    with taking_jobs():
        yield


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Two of the demo models and one of the sample sets."""
    manifest: dict[str, Any] = json.loads((seeding.FILES / "manifest.json").read_text())
    manifest["models"] = [item for item in manifest["models"] if item["name"] in KEPT]
    manifest["demos"] = manifest["demos"][-1:]
    for item in manifest["models"]:
        shutil.copy(seeding.FILES / item["file"], tmp_path)
        shutil.copy(seeding.FILES / item["reference"], tmp_path)
    shutil.copy(seeding.FILES / manifest["demos"][0]["file"], tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(seeding, "FILES", tmp_path)
    return manifest


@pytest.fixture(autouse=True)
def no_accounts_yet() -> Iterator[None]:
    path = settings.DATA_DIR / "demo-accounts.json"
    path.unlink(missing_ok=True)
    yield
    path.unlink(missing_ok=True)


def quiet(text: str) -> None:
    """Progress is not looked at here."""


class Killed(BaseException):
    """What a SIGKILL looks like from inside."""


def assert_whole(models: int, sets: int) -> None:
    assert RegisteredModel.objects.filter(team__slug="demo").count() == models
    states = list(ModelVersion.objects.filter(model__team__slug="demo").values_list("number", "state"))
    assert states == [(1, VersionState.PUBLISHED)] * models
    assert list(SampleSet.objects.filter(demo=True).values_list("state", flat=True)) == [SampleSetState.READY] * sets
    assert not Upload.objects.filter(claimed=False).exists()


def test_made_once(worker: None, small: dict[str, Any]) -> None:
    said: list[str] = []
    assert seed(said.append) is True
    assert_whole(2, 1)
    assert said[-1] == "demo catalog: 3 of 3 models and sample sets checked"
    assert seed(quiet) is False
    assert_whole(2, 1)
    assert SampleSet.objects.get(demo=True).retain_until is None, "a demo set does not expire"


def test_accounts_work_and_stay(worker: None, small: dict[str, Any]) -> None:
    seed(quiet)
    first = accounts()
    assert [row.username for row in first] == ["demo", "curator", "operator"]
    for row in first:
        assert authenticate(username=row.username, password=row.password) is not None
    assert stat.S_IMODE((settings.DATA_DIR / "demo-accounts.json").stat().st_mode) == 0o600
    assert [user.username for user in User.objects.filter(is_superuser=True)] == ["operator"]
    seed(quiet)
    assert accounts() == first


def test_killed_while_it_writes_the_accounts(worker: None, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(document: Any, file: Any, **more: Any) -> None:
        file.write('[{"username": "de')
        file.flush()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(seeding.json, "dump", dies)
        with pytest.raises(Killed):
            seed(quiet)
    assert accounts() == []
    seed(quiet)
    assert all(authenticate(username=row.username, password=row.password) for row in accounts())


@pytest.mark.parametrize("step", ["_upload", "publish", "_sampleset"])
@pytest.mark.parametrize("number", [1, 2])
def test_killed_half_way(worker: None, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch, step: str, number: int) -> None:
    real, calls = getattr(seeding, step), []

    def dying(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise Killed
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(seeding, step, dying)
        if (step, number) == ("_sampleset", 2):
            seed(quiet)
        else:
            with pytest.raises(Killed):
                seed(quiet)
    seed(quiet)
    assert_whole(2, 1)


def test_what_the_demo_account_does_later_is_its_own_affair(worker: None, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Own drafts, rejected versions, versions in review and broken jobs of the demo account neither stop a start nor get approved."""
    seed(quiet)
    monkeypatch.setattr(seeding, "WAIT_SECONDS", 1.0)
    demo, team = User.objects.get(username="demo"), Team.objects.get(slug="demo")
    own = []
    for state in (VersionState.READY, VersionState.REJECTED, VersionState.IN_REVIEW, VersionState.CHECKING):
        model = RegisteredModel.objects.create(team=team, owner=demo, name=f"own-{state}", title="Own", task="x", modality="image")
        own.append(ModelVersion.objects.create(model=model, number=1, state=state, created_by=demo, format="onnx"))
    second = RegisteredModel.objects.get(name="digits-linear")
    own.append(ModelVersion.objects.create(model=second, number=2, state=VersionState.IN_REVIEW, created_by=demo, format="onnx"))
    broken = SampleSet.objects.create(owner=demo, name="mine", state=SampleSetState.FAILED)
    Job.objects.create(kind="search.run", subject_id=1, label="x", owner=demo, state=JobState.ERRORED, lease_until="2020-01-01T00:00:00Z")
    before = [version.state for version in own]
    assert seed(quiet) is False
    SampleSet.objects.filter(demo=True).delete()
    assert seed(quiet) is True, "what is missing is made although the rest looks as it does"
    for version in own:
        version.refresh_from_db()
    broken.refresh_from_db()
    assert [version.state for version in own] == before
    assert broken.state == SampleSetState.FAILED


def test_a_demo_model_that_was_archived_stays_so(worker: None, small: dict[str, Any]) -> None:
    seed(quiet)
    ModelVersion.objects.filter(model__name="digits-linear").update(state=VersionState.ARCHIVED)
    assert seed(quiet) is False
    SampleSet.objects.filter(demo=True).delete()
    assert seed(quiet) is True
    assert ModelVersion.objects.get(model__name="digits-linear").state == VersionState.ARCHIVED


def test_a_broken_demo_model_is_named(worker: None, small: dict[str, Any]) -> None:
    (seeding.FILES / small["models"][0]["file"]).write_bytes((seeding.FILES / small["models"][0]["file"]).read_bytes()[:-200])
    with pytest.raises(SeedFailed, match="digits-linear"):
        seed(quiet)


def test_without_a_worker_it_says_so(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeding, "WAIT_SECONDS", 0.5)
    with pytest.raises(SeedFailed, match="worker"):
        seed(quiet)


def test_roles(worker: None, small: dict[str, Any]) -> None:
    seed(quiet)
    found = dict(Membership.objects.filter(team__slug="demo").values_list("user__username", "role"))
    assert found == {"demo": Role.PUBLISHER, "curator": Role.CURATOR, "operator": Role.ADMIN}


@pytest.mark.slow
def test_the_process_is_killed_and_started_again(worker: None) -> None:
    """`manage.py seed` with the whole catalog, killed after some models; the next start completes it."""
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path="/" + connection.settings_dict["NAME"]).geturl()
    command = [sys.executable, "manage.py", "seed"]
    environment = {**os.environ, "DATABASE_URL": url, "MODELSHOP_HOME": str(settings.DATA_DIR)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while RegisteredModel.objects.count() < 4:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    manifest = json.loads((seeding.FILES / "manifest.json").read_text())
    assert RegisteredModel.objects.count() < len(manifest["models"])
    assert seed(quiet) is True
    states = ModelVersion.objects.values_list("model__name", "number", "state")
    assert sorted(states) == sorted((item["name"], 1, VersionState.PUBLISHED) for item in manifest["models"])
    assert SampleSet.objects.filter(demo=True, state=SampleSetState.READY).count() == len(manifest["demos"])
