"""The sandbox as a worker sees it: sessions of locked children, forked from a zygote that starts when it is first needed."""

from __future__ import annotations

import os
import socket
import threading
from types import TracebackType

from gpuworker.core.sandbox.contract import Limits, Walls
from gpuworker.core.sandbox.lock import OMITTABLE
from gpuworker.core.sandbox.process import Ending, Zygote, ZygoteGone
from gpuworker.core.sandbox.session import Session

PRODUCT_JOBS = "gpuworker.core.sandbox.jobs"


class Sandbox:
    """Owns one zygote, starts it when needed and again when it has died. Sessions of several threads may share it.

    jobs_module: module whose `JOBS` may be called, the product's unless a test gives its own. omit: walls to leave out, for
    tests that show what each is good for; `walls()` reports whatever is missing.
    """

    def __init__(self, jobs_module: str = PRODUCT_JOBS, omit: frozenset[str] = frozenset()) -> None:
        unknown = omit - OMITTABLE - {"bubblewrap"}
        if unknown:
            raise ValueError(f"unknown walls: {sorted(unknown)}")
        self._jobs_module = jobs_module
        self._omit = omit
        self._zygote: Zygote | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start the zygote now rather than at the first call. Raises SandboxDefect when it cannot."""
        with self._lock:
            self._running()

    def session(self, limits: Limits) -> Session:
        """A session under these limits; its child is forked at the first call."""
        return Session(limits, self._fork, self._end)

    def walls(self, limits: Limits | None = None) -> Walls:
        """What stands around a child here, reported by a real one."""
        with self.session(limits or Limits()) as session:
            return session.walls

    def close(self) -> None:
        """End the zygote and with it every child."""
        with self._lock:
            if self._zygote is not None:
                self._zygote.close()
                self._zygote = None

    @property
    def zygote_pid(self) -> int | None:
        """Process number of the running zygote, None when there is none."""
        return self._zygote.pid if self._zygote is not None else None

    def _running(self) -> Zygote:
        # After a fork of the worker the zygote still belongs to the old process: this one starts its own.
        if self._zygote is not None and (self._zygote.owner != os.getpid() or not self._zygote.alive()):
            self._zygote.close()
            self._zygote = None
        if self._zygote is None:
            self._zygote = Zygote(self._jobs_module, self._omit)
        return self._zygote

    def _fork(self, limits: Limits) -> tuple[Zygote, int, socket.socket]:
        with self._lock:
            zygote = self._running()
            try:
                return zygote, *zygote.fork(limits)
            except ZygoteGone:
                # It died since it was last seen: once more with a new one.
                self._zygote = None
                zygote = self._running()
                return zygote, *zygote.fork(limits)

    def _end(self, zygote: Zygote, pid: int) -> Ending:
        """Raises ZygoteGone when that child's own zygote is no longer the running one: the child died with it."""
        with self._lock:
            if zygote is not self._zygote:
                raise ZygoteGone("another zygote has taken its place")
            try:
                return zygote.end(pid)
            except ZygoteGone:
                self._zygote = None
                raise
