"""Nothing is left behind: descriptors, zombies, orphans; and whatever dies is started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gpuworker.core.errors import ExecutionFailed, LimitExceeded
from gpuworker.core.sandbox import Limits, Sandbox, SandboxDefect
from tests.core.sandbox.fixtures import HOSTILE

PROJECT = Path(__file__).resolve().parents[3]

WORKER = f"""
import sys, threading
from gpuworker.core.sandbox import Limits, Sandbox
sandbox = Sandbox({HOSTILE!r})
session = sandbox.session(Limits(wall_s=600))
session.call("count")
children = open(f"/proc/{{sandbox.zygote_pid}}/task/{{sandbox.zygote_pid}}/children").read().split()
print(sandbox.zygote_pid, *children, flush=True)
session.call(sys.argv[1])
"""


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _gone(pid: int) -> bool:
    """Whether a process has ended; one that waits for a slow init to reap it has."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def _await_gone(pids: list[int]) -> None:
    for _ in range(600):
        if all(_gone(pid) for pid in pids):
            return
        time.sleep(0.1)
    raise AssertionError(f"still running after a minute: {[pid for pid in pids if not _gone(pid)]}")


def test_two_hundred_calls_leave_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    limits = Limits(memory=1 << 30, output=1 << 20, reply=1 << 20)
    sandbox.start()
    zygote = sandbox.zygote_pid
    assert zygote is not None
    with path.open("rb") as stream, (tmp_path / "out").open("w+b") as out:
        before = _descriptors(os.getpid()), _descriptors(zygote), _children(os.getpid())
        with sandbox.session(limits) as session:
            for turn in range(200):
                if turn % 10 == 0:
                    with pytest.raises((ExecutionFailed, LimitExceeded)):
                        session.call(
                            ("leave", "segfault", "huge_reply", "say")[turn // 10 % 4],
                            {"bytes": 2 << 20, "then": "leave"},
                            {"bytes": np.zeros(3, np.uint8)},
                        )
                elif turn % 10 == 5:
                    session.call("write_output", arrays={"x": np.zeros(3)}, output=out.fileno())
                else:
                    session.call("map_files", files=[("file", stream.fileno())])
        for _ in range(5):
            with sandbox.session(limits) as session:
                session.call("count")
        assert (_descriptors(os.getpid()), _descriptors(zygote), _children(os.getpid())) == before
        assert _children(zygote) == []
    assert sandbox.zygote_pid == zygote


def test_a_dead_zygote_is_replaced(sandbox: Sandbox) -> None:
    with sandbox.session(Limits()) as session:
        session.call("count")
        first = sandbox.zygote_pid
        assert first is not None
        (child,) = _children(first)
        os.kill(first, signal.SIGKILL)
        _await_gone([child])
        with pytest.raises(SandboxDefect):
            session.call("count")
        assert session.call("count").meta == {"count": 1}
        assert sandbox.zygote_pid != first


def test_a_zygote_that_died_unseen_is_replaced_at_once(sandbox: Sandbox) -> None:
    sandbox.start()
    first = sandbox.zygote_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    with sandbox.session(Limits()) as session:
        assert session.call("count").meta == {"count": 1}


def test_two_sessions_do_not_share_state_or_fate(sandbox: Sandbox) -> None:
    with sandbox.session(Limits()) as one, sandbox.session(Limits()) as other:
        one.call("count")
        with pytest.raises(ExecutionFailed):
            other.call("segfault")
        assert one.call("count").meta == {"count": 2}
        assert other.call("count").meta == {"count": 1}


def test_sessions_of_several_threads(sandbox: Sandbox) -> None:
    counts: list[int] = []

    def work() -> None:
        with sandbox.session(Limits()) as session:
            for _ in range(20):
                last = session.call("count").meta["count"]
            counts.append(last)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [20] * 4


def test_it_outlives_the_thread_that_started_it() -> None:
    with Sandbox(HOSTILE) as sandbox:
        thread = threading.Thread(target=sandbox.start)
        thread.start()
        thread.join()
        pid = sandbox.zygote_pid
        time.sleep(0.3)
        with sandbox.session(Limits()) as session:
            session.call("count")
        assert sandbox.zygote_pid == pid


@pytest.mark.parametrize("busy_with", ["spin", "sleep"])
def test_a_killed_worker_takes_all_with_it(busy_with: str) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, busy_with], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    with worker, worker.stdout:
        pids = [int(word) for word in worker.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(_gone(pid) for pid in pids)
        worker.kill()
        worker.wait()
        _await_gone(pids)


def test_a_forked_worker_starts_its_own(sandbox: Sandbox) -> None:
    sandbox.start()
    first = sandbox.zygote_pid
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            with sandbox.session(Limits()) as session:
                session.call("count")
            code = 0 if sandbox.zygote_pid != first else 2
            sandbox.close()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with sandbox.session(Limits()) as session:
        session.call("count")
    assert sandbox.zygote_pid == first


def test_a_sandbox_that_cannot_start_says_why() -> None:
    with Sandbox("tests.core.sandbox.no_such_module") as sandbox, pytest.raises(SandboxDefect) as caught:
        sandbox.start()
    assert "no_such_module" in caught.value.trace


def test_threads_before_the_fork_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "threaded_jobs.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\nJOBS = {}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with Sandbox("threaded_jobs") as sandbox, pytest.raises(SandboxDefect) as caught:
        sandbox.start()
    assert "2 threads after loading" in caught.value.trace


@pytest.mark.parametrize("change", [{"memory": 0}, {"wall_s": -1.0}, {"output": -1}, {"device": "tpu"}])
def test_senseless_limits_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="limits|device"):
        Limits(**change)  # type: ignore[arg-type]
