"""Every attack is run three times: with no wall (it must succeed, or the test proves nothing), with one wall alone, with all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpuworker.core.sandbox import Limits, Sandbox, landlock
from tests.core.sandbox.fixtures import EVERY_WALL

LIMITS = Limits(memory=1 << 28, wall_s=30, cpu_s=30)
ROOT = os.getuid() == 0
SECRET = "correct horse battery staple"


@dataclass(frozen=True)
class Scene:
    """What attacks aim at: real files, listening sockets and a process of the worker's own user."""

    meta: dict[str, dict[str, Any]]
    victim: subprocess.Popen[bytes]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == Path(tmp_path).owner() and str(folder) not in ("/", "/tmp"):
            folder.chmod(0o777)
    private = tmp_path / "private"
    private.write_text(SECRET)
    private.chmod(0o600)
    victim = subprocess.Popen(["sleep", "600"], env={"SECRET_KEY": SECRET})
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as abstract:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        abstract.bind(f"\0attack-{os.getpid()}")
        abstract.listen()
        meta: dict[str, dict[str, Any]] = {
            "read": {"path": "/etc/passwd"},
            "look": {"path": "/etc/passwd"},
            "write": {"path": str(tmp_path / "written")},
            "connect": {"port": tcp.getsockname()[1]},
            "connect_abstract": {"name": f"attack-{os.getpid()}"},
            "signal": {"pid": victim.pid},
            "trace": {"pid": victim.pid},
            "read private": {"path": str(private)},
            "read secrets": {"path": f"/proc/{victim.pid}/environ"},
            "memory": {"bytes": 1 << 29},
            "threads": {"count": 120},
        }
        yield Scene(meta, victim)
    victim.kill()
    victim.wait()


ATTACKS: dict[str, tuple[str, ...]] = {
    "read": ("landlock", "seccomp", "namespaces"),
    "look": ("seccomp", "namespaces"),
    "write": ("landlock", "seccomp", "namespaces", "rlimits"),
    "read private": ("landlock", "seccomp", "namespaces", "uid"),
    "read secrets": ("landlock", "seccomp", "namespaces", "uid"),
    "connect": ("landlock", "seccomp", "namespaces"),
    "connect_abstract": ("landlock", "seccomp", "namespaces"),
    "fork": ("seccomp",),
    "execute": ("landlock", "seccomp", "namespaces"),
    "signal": ("landlock", "seccomp", "uid"),
    "trace": ("landlock", "seccomp", "uid"),
    "memory": ("rlimits",),
    "descriptors": ("descriptors",),
    "anonymous_file": ("seccomp",),
    "other_limit": ("seccomp",),
}
NEEDED_ABI = {"connect": 4, "connect_abstract": 6, "signal": 6}
PAIRS = [(attack, wall) for attack, walls in ATTACKS.items() for wall in walls]


def _run(sandbox: Sandbox, attack: str, scene: Scene) -> dict[str, Any]:
    with sandbox.session(LIMITS) as session:
        answer = dict(session.call(attack.split()[0], scene.meta.get(attack, {})).meta)
        assert session.call("count").meta == {"count": 1}, "the child does not go on after the attack"
        return answer


def _succeeded(answer: dict[str, Any]) -> bool:
    return "got" in answer and answer["got"] != []


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_succeeds_without_walls(attack: str, scene: Scene, sandbox_without: Callable[[frozenset[str]], Sandbox]) -> None:
    answer = _run(sandbox_without(EVERY_WALL), attack, scene)
    assert _succeeded(answer), answer
    if attack in ("read private", "read secrets"):
        assert SECRET in answer["got"]


@pytest.mark.parametrize(("attack", "wall"), PAIRS)
def test_one_wall_alone_stops_it(attack: str, wall: str, scene: Scene, sandbox_without: Callable[[frozenset[str]], Sandbox]) -> None:
    if wall == "uid" and not ROOT:
        pytest.skip("only root has another user to become")
    if wall == "landlock" and landlock.version() < NEEDED_ABI.get(attack, 1):
        pytest.skip(f"Landlock version {landlock.version()} does not know this")
    sandbox = sandbox_without(EVERY_WALL - {wall})
    report = sandbox.walls(LIMITS)
    if wall == "namespaces" and not (report.network_namespace and report.empty_root):
        pytest.skip("; ".join(report.sentences))
    answer = _run(sandbox, attack, scene)
    assert not _succeeded(answer), answer
    assert scene.victim.poll() is None


@pytest.mark.parametrize("attack", ATTACKS)
def test_all_walls_stop_it(attack: str, scene: Scene, sandbox: Sandbox) -> None:
    answer = _run(sandbox, attack, scene)
    assert not _succeeded(answer), answer
    assert scene.victim.poll() is None


def test_victim_dies_without_walls(scene: Scene, sandbox_without: Callable[[frozenset[str]], Sandbox]) -> None:
    _run(sandbox_without(EVERY_WALL), "signal", scene)
    assert scene.victim.wait(20) == -signal.SIGTERM


def test_environment_is_empty(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", SECRET)
    sandbox.close()
    with sandbox.session(LIMITS) as session:
        assert session.call("environment").meta == {"got": {}}


def test_threads_are_few(scene: Scene, sandbox: Sandbox, sandbox_without: Callable[[frozenset[str]], Sandbox]) -> None:
    if not sandbox.walls().user_namespace:
        pytest.skip("no count of processes of its own without a user namespace")
    roomy = Limits(memory=8 << 30, wall_s=30)
    for omit, expected in ((EVERY_WALL, "got"), (frozenset[str](), "refused")):
        with sandbox_without(omit).session(roomy) as session:
            assert expected in session.call("threads", scene.meta["threads"]).meta


def test_limits_cannot_be_raised(sandbox: Sandbox) -> None:
    with sandbox.session(LIMITS) as session:
        assert "refused" in session.call("more_memory").meta


def test_environment_of_the_zygote_is_empty_too(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child has a copy of its memory, where the variables it was started with remain."""
    monkeypatch.setenv("SECRET_KEY", SECRET)
    sandbox.close()
    sandbox.start()
    assert SECRET.encode() not in Path(f"/proc/{sandbox.zygote_pid}/environ").read_bytes()


@pytest.mark.parametrize("attack", ["overwrite_input", "reopen_input"])
def test_given_files_stay_as_they_are(attack: str, tmp_path: Path, sandbox: Sandbox) -> None:
    path = tmp_path / "given"
    path.write_bytes(b"original")
    with path.open("r+b") as stream, sandbox.session(Limits(output=1 << 20)) as session:
        assert "refused" in session.call(attack, files=[("given", stream.fileno())]).meta
        assert stream.tell() == 0
    assert path.read_bytes() == b"original"
