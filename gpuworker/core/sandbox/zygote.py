"""The process that children are forked from: torch and all jobs imported, one thread, no environment, no secrets.

Started by `process.Zygote` as `python -m gpuworker.core.sandbox.zygote OPTIONS`, OPTIONS being one JSON object. It never touches
anything uploaded. It ends when its worker's end of the control channel closes, which the kernel does however the worker
dies; a parent-death signal would also fire when merely the *thread* that started it ends. Its children carry that signal
(it has one thread only), and so end with it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpuworker.core.sandbox import kernel, preload
from gpuworker.core.sandbox.child import serve
from gpuworker.core.sandbox.contract import Job, Limits
from gpuworker.core.sandbox.frames import Closed, Deadline, read_frame, receive_fds, write_frame
from gpuworker.core.sandbox.lock import CHANNEL_FD, lock, shed_descriptors

_ORPHAN_CHECK_MS = 1_000


@dataclass(frozen=True, slots=True)
class Options:
    """control_fd: inherited socket to the worker. omit: walls to leave out, for tests that show what a wall is good for."""

    control_fd: int
    jobs_module: str
    omit: tuple[str, ...]
    bubblewrap: bool


def main(options: Options) -> None:
    """Serve the worker until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=options.control_fd)
    control.set_inheritable(False)
    module = importlib.import_module(options.jobs_module)
    jobs: Mapping[str, Job] = module.JOBS
    preload.warm()
    if hasattr(module, "warm_up"):
        module.warm_up()
    # Only now: linear algebra libraries read their number of threads from it when they are loaded.
    kernel.clear_environment()
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"{threads} threads after loading the jobs; a child forked now could hang")
    _raise_open_files()
    gc.collect()
    gc.freeze()
    empty_root, null = _empty_directory(), os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    write_frame(control, {"ready": os.getpid()}, {}, Deadline(None))
    worker, poll = os.getppid(), select.poll()
    poll.register(control, select.POLLIN)
    while True:
        if not poll.poll(_ORPHAN_CHECK_MS):
            if os.getppid() != worker:
                return
            continue
        try:
            header = read_frame(control, 0, Deadline(None)).header
            if header["op"] == "fork":
                pid = _fork(control, header, jobs, options, empty_root, null)
                write_frame(control, {"pid": pid}, {}, Deadline(None))
            else:
                write_frame(control, _end(header["pid"]), {}, Deadline(None))
        except (Closed, ConnectionError):
            return


def _fork(control: socket.socket, header: Mapping[str, Any], jobs: Mapping[str, Job], options: Options, empty_root: int, null: int) -> int:
    (channel_fd,) = receive_fds(control, 1)
    zygote = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_child(channel_fd, zygote, Limits(**header["limits"]), jobs, options, empty_root, null)
    os.close(channel_fd)
    return pid


def _be_child(channel_fd: int, zygote: int, limits: Limits, jobs: Mapping[str, Job], options: Options, empty_root: int, null: int) -> None:
    """Never returns into the zygote's own loop, whatever happens."""
    try:
        os.setsid()
        omit = frozenset(options.omit)
        if "descriptors" not in omit:
            empty_root = shed_descriptors(channel_fd, null, empty_root)
            channel_fd = CHANNEL_FD
        channel = socket.socket(fileno=channel_fd)
        try:
            walls = lock(limits, zygote, empty_root, omit, options.bubblewrap)
        except Exception:
            write_frame(channel, {"failed": traceback.format_exc()}, {}, Deadline(None))
            raise
        serve(channel, jobs, limits, walls)
        os._exit(0)
    finally:
        os._exit(1)


def _end(pid: int) -> dict[str, int]:
    """Kill a child that has not ended by itself, reap it and say how it ended."""
    os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return {"status": status, "peak_bytes": usage.ru_maxrss * 1024}


def _raise_open_files() -> None:
    """Take the hard limit on open files as the soft one: a sample set of single files needs one each."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _empty_directory() -> int:
    """A descriptor of a directory that no longer has a name, in which nothing can be made."""
    path = tempfile.mkdtemp(prefix="empty-")
    os.chmod(path, 0o555)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.rmdir(path)
    return fd


if __name__ == "__main__":
    raw = json.loads(sys.argv[1])
    main(Options(raw["control_fd"], raw["jobs_module"], tuple(raw["omit"]), raw["bubblewrap"]))
