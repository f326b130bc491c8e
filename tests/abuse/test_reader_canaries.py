"""Each way in which opening a model can run its author's code: shown to work on a careless loader, then to fail on ours.

Our readers are tried without any wall, so that it is the reader that holds; the careless loader behind all walls, so that
it is the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from gpuworker.core.errors import UserError
from gpuworker.core.sandbox import Limits, Sandbox
from tests.abuse.canaries import PT2_WAYS, hostile_pt2, onnx_with_outside_weight, pickled, sound_pt2
from tests.core.sandbox.fixtures import EVERY_WALL

LIMITS = Limits(wall_s=60)
JOBS = "tests.abuse.reader_jobs"
BUILDERS: dict[str, Callable[[Path], bytes]] = {
    **{way: lambda marker, way=way: hostile_pt2(way, marker) for way in PT2_WAYS},
    "pickle": pickled,
}  # type: ignore[misc]


@pytest.fixture(scope="module")
def open_room() -> Iterator[Sandbox]:
    with Sandbox(JOBS, EVERY_WALL) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def locked_room() -> Iterator[Sandbox]:
    with Sandbox(JOBS) as sandbox:
        yield sandbox


def _call(sandbox: Sandbox, job: str, path: Path, kind: str) -> dict[str, Any]:
    with path.open("rb") as stream, sandbox.session(LIMITS) as session:
        return dict(session.call(job, {"format": kind}, files=[(path.name, stream.fileno())]).meta)


def _write(folder: Path, data: bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    return folder / "ran"


@pytest.mark.parametrize("way", BUILDERS)
def test_a_careless_loader_runs_it(way: str, marker: Path, tmp_path: Path, open_room: Sandbox) -> None:
    _call(open_room, "careless", _write(tmp_path, BUILDERS[way](marker), "m.pt2"), "pickle" if way == "pickle" else "pt2")
    assert marker.exists()


@pytest.mark.parametrize("way", BUILDERS)
def test_behind_the_walls_even_that_does_nothing(way: str, marker: Path, tmp_path: Path, locked_room: Sandbox) -> None:
    _call(locked_room, "careless", _write(tmp_path, BUILDERS[way](marker), "m.pt2"), "pickle" if way == "pickle" else "pt2")
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
@pytest.mark.parametrize("way", BUILDERS)
def test_our_readers_never_run_it(way: str, kind: str, marker: Path, tmp_path: Path, open_room: Sandbox) -> None:
    path = _write(tmp_path, BUILDERS[way](marker), f"m.{kind}")
    try:
        answer = _call(open_room, "read", path, kind)
    except UserError as error:
        assert error.title and error.fix
    else:
        assert (kind, answer) == ("pt2", {"weights": 2})
        assert way in ("pickled sample inputs", "guard code"), "this part of the archive is needed, and must be refused"
    assert not marker.exists()


def test_the_same_archive_unspoilt_is_read(tmp_path: Path, locked_room: Sandbox) -> None:
    assert _call(locked_room, "read", _write(tmp_path, sound_pt2(), "m.pt2"), "pt2") == {"weights": 2}


@pytest.mark.parametrize("kind", ["absolute", "relative", "link"])
def test_outside_weights_are_not_read(kind: str, tmp_path: Path, open_room: Sandbox) -> None:
    secret = _write(tmp_path, b"twenty secret bytes.", "secret")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(secret)
    location = {"absolute": str(secret), "relative": "../secret", "link": "link"}[kind]
    path = _write(folder, onnx_with_outside_weight(location, 20), "m.onnx")
    with pytest.raises(UserError) as caught:
        _call(open_room, "read", path, "onnx")
    assert "secret bytes" not in str(caught.value)


def test_uploaded_data_files_are_read(tmp_path: Path, locked_room: Sandbox) -> None:
    model, data = _write(tmp_path, onnx_with_outside_weight("w.bin", 20), "m.onnx"), _write(tmp_path, b"twenty public bytes.", "w.bin")
    onnx.checker.check_model(str(model))
    with model.open("rb") as first, data.open("rb") as second, locked_room.session(LIMITS) as session:
        reply = session.call("read", {"format": "onnx"}, files=[("m.onnx", first.fileno()), ("w.bin", second.fileno())])
    assert reply.meta == {"weights": 1}
