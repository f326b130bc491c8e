"""The installed command against a running server; the check runs in a thread, as a worker would."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from django.db import connection
from pytest_django.live_server_helper import LiveServer

from accounts.models import ApiToken, Membership, Role, Scope, Team, User
from catalog.models import ModelVersion, RegisteredModel, VersionState
from modelshop import cli, uploads
from modelshop.client import Client, Publication
from modelshop.errors import NotReached
from modelshop.uploads import Memory
from tests.catalog.makers import check, image_spec, onnx_bytes, reference_bytes
from uploads.models import Upload

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def token(alice: User) -> str:
    return ApiToken.issue(alice, name="cli", scopes=[Scope.CATALOG_READ, Scope.CATALOG_WRITE], expires=None)[1]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "Shapes Model.onnx").write_bytes(onnx_bytes())
    (tmp_path / "spec.json").write_text(json.dumps(image_spec()))
    (tmp_path / "ref.npz").write_bytes(reference_bytes())
    return {"model": tmp_path / "Shapes Model.onnx", "spec": tmp_path / "spec.json", "reference": tmp_path / "ref.npz"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(live_server: LiveServer, token: str, files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*more: str, model: Path | None = None) -> tuple[int, str, str]:
        arguments = [
            "publish",
            str(model or files["model"]),
            "--spec",
            str(files["spec"]),
            "--url",
            live_server.url,
            "--token",
            token,
            *more,
        ]
        code = cli.main(arguments)
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture
def worker() -> Iterator[None]:
    """Runs the first check that turns up, then ends."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            version = ModelVersion.objects.filter(state=VersionState.CHECKING).first()
            if version is not None:
                check(version)
                break
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_publishes_and_waits_for_the_checks(run: Run, files: dict[str, Path], worker: None, alice: User) -> None:
    code, out, err = run("--reference", str(files["reference"]), "--submit", "--task", "animals", "--comment", "Please look.")
    assert code == 0, err
    assert "alice/shapes-model version 1" in out and "waiting for review" in out and "51 parameters" in out
    version = ModelVersion.objects.get()
    assert version.state == VersionState.IN_REVIEW and version.comment == "Please look."
    assert version.model.task == "animals" and version.model.team.slug == "alice"
    assert version.signature.n == 60
    assert not Upload.objects.exists(), "uploads are handed over, not copied"


def test_a_second_publication_is_the_next_version(run: Run) -> None:
    assert run("--no-wait")[0] == 0
    code, out, _ = run("--no-wait")
    assert code == 0 and "version 2" in out
    assert RegisteredModel.objects.count() == 1


def test_a_rejected_version_is_an_error_with_cause_and_fix(run: Run, tmp_path: Path, worker: None) -> None:
    (tmp_path / "wide.onnx").write_bytes(onnx_bytes(classes=4))
    code, _, err = run(model=tmp_path / "wide.onnx")
    assert code == 4
    assert "error: " in err and "3 labels" in err and "Name as many labels" in err


def test_a_refused_file_says_how_to_export_instead(run: Run, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x80\x04\x95" + b"0" * 200)
    code, _, err = run(model=tmp_path / "model.onnx")
    assert code == 4 and "torch.onnx.export" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--token", "msh_wrong"], 3, "API token"),
        (["--token", ""], 2, "MODELSHOP_TOKEN"),
        (["--url", "http://127.0.0.1:9"], 5, "does not answer"),
        (["--name", "no-slash"], 2, "team/name"),
        (["--name", "elsewhere/x"], 4, "may not publish to elsewhere"),
        (["--reference", "missing.npz"], 2, "missing.npz"),
        (["--reference-options", "[1]"], 2, "JSON object"),
    ],
)
def test_mistakes_have_their_own_exit_code(run: Run, arguments: list[str], code: int, said: str) -> None:
    found, _, err = run(*arguments)
    assert found == code, err
    assert said in err


def test_a_token_without_the_scope_may_not_publish(run: Run, alice: User) -> None:
    _, reader = ApiToken.issue(alice, name="reader", scopes=[Scope.CATALOG_READ], expires=None)
    code, _, err = run("--token", reader)
    assert code == 3 and "catalog:write" in err
    assert not ModelVersion.objects.exists()


def test_a_viewer_of_a_team_may_not_publish_there(run: Run, team: Team, alice: User) -> None:
    Membership.objects.filter(team=team, user=alice).update(role=Role.VIEWER)
    code, _, _ = run("--name", "vision/thing")
    assert code == 4 and not RegisteredModel.objects.exists()


def test_an_upload_goes_on_where_it_was_cut(
    live_server: LiveServer, token: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "CHUNK", 100)
    monkeypatch.setattr(uploads, "PAUSE", 0.0)
    monkeypatch.setattr(uploads, "TRIES", 2)
    memory = Memory(tmp_path / "memory.json")
    sent: list[int] = []

    class Cut(httpx.HTTPTransport):
        """The connection breaks for good before the third chunk."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "PATCH":
                sent.append(int(request.headers["Upload-Offset"]))
                if len(sent) >= 3:
                    raise httpx.ReadError("cut", request=request)
            return super().handle_request(request)

    what = Publication(name="alice/shapes", files=[files["model"]], spec=image_spec())
    with Client(live_server.url, token, memory=memory, transport=Cut()) as client, pytest.raises(NotReached):
        client.publish(what)
    assert Upload.objects.get().offset == 200
    seen: list[int] = []
    with Client(live_server.url, token, memory=memory) as client:
        client.publish(what, progress=lambda name, done, size: seen.append(done))
    assert seen[0] == 200 and seen[-1] == files["model"].stat().st_size
    assert ModelVersion.objects.get().files.get().sha256


def test_a_bad_line_gets_smaller_pieces_until_it_is_better(
    live_server: LiveServer, token: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut, away altogether, still busy with what was cut: each is tried again, from where the upload stands."""
    monkeypatch.setattr(uploads, "CHUNK", 80)
    monkeypatch.setattr(uploads, "CHUNK_LEAST", 15)
    monkeypatch.setattr(uploads, "PAUSE", 0.0)
    troubles = iter(["", "cut", "", "cut", "away", "", "busy"])
    tried: list[tuple[int, int]] = []

    class Line(httpx.HTTPTransport):
        """Meets the requests about the upload with these troubles in turn, then with none."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if not request.url.path.startswith("/uploads/") or request.method == "POST":
                return super().handle_request(request)
            if request.method == "PATCH":
                tried.append((int(request.headers["Upload-Offset"]), len(request.content)))
            trouble = next(troubles, "")
            if trouble in ("cut", "away"):
                raise httpx.ReadError(trouble, request=request)
            return httpx.Response(423, json={"title": "Busy"}) if trouble == "busy" else super().handle_request(request)

    what = Publication(name="alice/shapes", files=[files["model"]], spec=image_spec())
    with Client(live_server.url, token, memory=Memory(tmp_path / "memory.json"), transport=Line()) as client:
        client.publish(what)
    assert tried[:8] == [(0, 80), (80, 80), (80, 40), (80, 15), (80, 15), (95, 30), (125, 60), (185, 80)]
    assert ModelVersion.objects.get().files.get().sha256


def test_version_is_printed_by_the_installed_command() -> None:
    done = subprocess.run([Path(sys.executable).parent / "modelshop", "version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip().count(".") == 2


def test_the_client_imports_nothing_of_the_server() -> None:
    code = (
        "import sys, modelshop.cli; print(sorted({name.split('.')[0] for name in sys.modules} & {'django', 'torch', 'catalog', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_memory_survives_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    path.write_text("{not json")
    memory = Memory(path)
    assert memory.get("a") is None
    memory.put("a", "1")
    assert Memory(path).get("a") == "1"
    memory.put("a", None)
    assert Memory(path).get("a") is None
