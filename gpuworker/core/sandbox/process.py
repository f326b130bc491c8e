"""The worker's handle on its zygote: starting it, asking it to fork a child and to end one."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpuworker.core.sandbox import bubblewrap, landlock
from gpuworker.core.sandbox.contract import Limits, SandboxDefect
from gpuworker.core.sandbox.frames import Closed, Deadline, FrameError, read_frame, send_fds, write_frame

_START_SECONDS = 120.0
_ANSWER_SECONDS = 30.0
# The driver's own variables: nothing else of the worker's environment reaches the zygote.
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES")
_OWN_VARIABLES = {
    "LANG": "C.UTF-8", "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1", "CUDA_CACHE_DISABLE": "1",
    # One thread before the fork: OpenMP, linear algebra, and the memory pool that pyarrow brings.
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended. signal: 0 when it exited by itself with `code`. peak_bytes: its largest resident memory."""

    signal: int
    code: int
    peak_bytes: int


class ZygoteGone(Exception):
    """The zygote ended, and all its children with it."""


class Zygote:
    """One running zygote. Not for use by two threads at once."""

    def __init__(self, jobs_module: str, omit: frozenset[str]) -> None:
        """Start it and wait until all jobs are imported (some seconds). Raises SandboxDefect with what it printed."""
        self.owner = os.getpid()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._control, theirs = socket.socketpair()
        wrap = _bubblewrap(omit)
        options = {
            "control_fd": theirs.fileno(),
            "jobs_module": jobs_module,
            "omit": sorted(omit),
            "bubblewrap": wrap is not None,
        }
        command = [sys.executable, "-P", "-m", "gpuworker.core.sandbox.zygote", json.dumps(options)]
        if wrap is not None:
            command = bubblewrap.command(wrap, ("gpuworker", jobs_module.split(".")[0])) + command
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | _OWN_VARIABLES
        environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(part) for part in sys.path)
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        theirs.close()
        try:
            read_frame(self._control, 0, Deadline(_START_SECONDS))
        except (Closed, FrameError, OSError) as error:
            printed = self._printed()
            self.close()
            raise SandboxDefect("The sandbox did not start.", printed) from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def fork(self, limits: Limits) -> tuple[int, socket.socket]:
        """A fresh child: its number and the channel to it. Raises ZygoteGone."""
        ours, theirs = socket.socketpair()
        try:
            answer = self._ask({"op": "fork", "limits": limits.to_json()}, theirs)
        except ZygoteGone:
            ours.close()
            raise
        finally:
            theirs.close()
        return int(answer["pid"]), ours

    def end(self, pid: int) -> Ending:
        """Kill a child unless it has ended already, and reap it. Raises ZygoteGone."""
        answer = self._ask({"op": "end", "pid": pid}, None)
        status = int(answer["status"])
        ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return Ending(ended_by, os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0, int(answer["peak_bytes"]))

    def close(self) -> None:
        """End it and all its children."""
        self._control.close()
        self._errors.close()
        if self.owner != os.getpid():
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._process.kill()
        self._process.wait()

    def _ask(self, header: Mapping[str, Any], handed: socket.socket | None) -> Mapping[str, Any]:
        deadline = Deadline(_ANSWER_SECONDS)
        try:
            write_frame(self._control, header, {}, deadline)
            if handed is not None:
                send_fds(self._control, [handed.fileno()], deadline)
            return read_frame(self._control, 0, deadline).header
        except (Closed, FrameError, OSError) as error:
            printed = self._printed()
            self.close()
            raise ZygoteGone(printed) from error

    def _printed(self) -> str:
        self._errors.seek(max(0, os.fstat(self._errors.fileno()).st_size - 8_000))
        return self._errors.read().decode(errors="replace")


def _bubblewrap(omit: frozenset[str]) -> str | None:
    """Path of bubblewrap where it has to stand in for Landlock and can."""
    if "bubblewrap" in omit or ("landlock" not in omit and landlock.version()):
        return None
    return bubblewrap.find()
