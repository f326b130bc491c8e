"""A start on a folder whose last supervisor was killed: what it left behind misleads nobody. Real PostgreSQL, no web."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from config import embedded, postgres
from config.embedded import Supervisor
from config.postgres import Embedded, PostgresError

STALE = '{"supervisor": 1, "port": 1, "database_url": "postgresql://nowhere"}'


@pytest.fixture(scope="module")
def cluster() -> Iterator[Embedded]:
    """An empty cluster that nobody serves."""
    with tempfile.TemporaryDirectory(prefix="modelshop-cluster-") as folder:
        server = postgres.locate(Path(folder))
        assert server.prepare()
        yield server


def serve(server: Embedded) -> subprocess.Popen[bytes]:
    process = server.popen(durable=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server.wait_ready(process)
    return process


def lock_file(server: Embedded, pid: object) -> Path:
    """As PostgreSQL writes it, and leaves it when it is killed."""
    path = server.data / "postmaster.pid"
    path.write_text("\n".join([str(pid), str(server.data), "0", "5432", str(server.socket), "", "0", "ready"]) + "\n")
    return path


@pytest.fixture
def holders() -> Iterator[dict[str, object]]:
    """What a lock file may name. Not this process: PostgreSQL passes over its own parent."""
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    yield {"somebody else": other.pid, "nobody": gone.pid, "garbage": "x", "nothing at all": ""}
    other.kill()
    other.communicate()


@pytest.mark.parametrize("holder", ["somebody else", "nobody", "garbage", "nothing at all"])
def test_a_lock_file_that_was_left_does_not_keep_postgresql_from_starting(
    cluster: Embedded, holders: dict[str, object], holder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a restarted container the numbers begin anew: the old server's is then soon another process's."""
    path = lock_file(cluster, holders[holder])
    if holder == "nothing at all":
        path.write_text("")
    with monkeypatch.context() as patched:
        patched.setattr(time, "sleep", lambda seconds: None)
        assert cluster.prepare() is False
    process = serve(cluster)
    postgres.stop(process)
    assert process.returncode == 0


def test_a_server_that_still_runs_is_not_robbed_of_its_folder(cluster: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    process = serve(cluster)
    try:
        with monkeypatch.context() as patched, pytest.raises(PostgresError, match="still runs"):
            patched.setattr(time, "sleep", lambda seconds: None)
            cluster.prepare()
        assert (cluster.data / "postmaster.pid").read_text().split()[0].isdigit()
        psycopg2.connect(host=str(cluster.socket), user="postgres", dbname="postgres").close()
    finally:
        postgres.stop(process)


def test_a_server_that_is_about_to_end_is_waited_for(cluster: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel has told the killed supervisor's server to stop; its folder is free a moment later."""
    process = serve(cluster)
    waits = []

    def a_moment_later(seconds: float) -> None:
        waits.append(seconds)
        process.send_signal(signal.SIGINT)
        process.wait()

    with monkeypatch.context() as patched:
        patched.setattr(time, "sleep", a_moment_later)
        assert cluster.prepare() is False
    assert len(waits) == 1
    postgres.stop(serve(cluster))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether the list of processes was there when a supervisor began to start; it starts nothing and ends at once."""
    seen: list[bool] = []
    monkeypatch.setattr(Supervisor, "_start", lambda self: seen.append((self.data / "processes.json").exists()))
    monkeypatch.setattr(Supervisor, "_watch", lambda self: None)
    handlers = [(name, signal.getsignal(name)) for name in (signal.SIGINT, signal.SIGTERM)]
    yield seen
    for name, handler in handlers:
        signal.signal(name, handler)


def test_the_list_of_a_killed_supervisor_is_gone_before_anything_starts(tmp_path: Path, started: list[bool]) -> None:
    """Whoever waits for the new one would read the old address in it."""
    (tmp_path / "processes.json").write_text(STALE)
    assert embedded.main(["--port", "0", "--data", str(tmp_path), "--no-seed"]) == 0
    assert started == [False]


def test_the_list_of_a_running_supervisor_stays(tmp_path: Path, started: list[bool], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "processes.json").write_text(STALE)
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert embedded.main(["--port", "0", "--data", str(tmp_path), "--no-seed"]) == 1
    assert "already runs" in capsys.readouterr().err
    assert (tmp_path / "processes.json").read_text() == STALE and started == []
