"""One locked child serving many requests, seen from the worker. Whatever the child does ends in an exception here, not in harm."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from types import TracebackType
from typing import Any, NoReturn

from numpy.typing import NDArray

from gpuworker.core.errors import ExecutionFailed, LimitExceeded
from gpuworker.core.sandbox.contract import Limits, Reply, SandboxDefect, StagedTensor, Walls
from gpuworker.core.sandbox.endings import error_of, error_of_ending
from gpuworker.core.sandbox.frames import Closed, Deadline, Frame, FrameError, TooLarge, read_frame, send_fds, write_frame
from gpuworker.core.sandbox.process import Ending, Zygote, ZygoteGone
from gpuworker.core.sandbox.staging import read_index

_HELLO_SECONDS = 30.0

Fork = Callable[[Limits], tuple[Zygote, int, socket.socket]]
End = Callable[[Zygote, int], Ending]


class Session:
    """Calls jobs in one child; forks another when a call has cost the child its life. For one thread at a time.

    generation: grows by one with each child. What the jobs kept in their state is gone when it differs from before.
    """

    def __init__(self, limits: Limits, fork: Fork, end: End) -> None:
        self.limits = limits
        self.generation = 0
        self._fork = fork
        self._end = end
        self._owner: tuple[Zygote, int] | None = None
        self._channel: socket.socket | None = None
        self._walls: Walls | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def walls(self) -> Walls:
        """What stands around the present child, by its own report; starts one if there is none."""
        self._child()
        assert self._walls is not None
        return self._walls

    @property
    def alive(self) -> bool:
        """Whether a child is there whose state still holds; after a crash it is not, until the next call."""
        return self._channel is not None

    def reset(self) -> None:
        """Give up the present child and all state; the next call gets a fresh one."""
        self.close()

    def close(self) -> None:
        """End the child."""
        if self._channel is not None:
            with contextlib.suppress(ZygoteGone):
                self._discard()

    def call(
        self,
        job: str,
        meta: Mapping[str, Any] | None = None,
        arrays: Mapping[str, NDArray[Any]] | None = None,
        files: Sequence[tuple[str, int]] = (),
        *,
        output: int | None = None,
        wall_s: float | None = None,
    ) -> Reply:
        """Run one job and return its checked reply.

        files: (name, descriptor) of regular files, which the child gets read-only under the same names. output: descriptor of
        a regular file that the job fills; the child is ended before the file is checked, so that it cannot change afterwards.
        wall_s: clock seconds for this call, `limits.wall_s` unless given.
        Raises the job's own UserError; LimitExceeded for memory, time, file size; ExecutionFailed when the child died or
        answered nonsense; SandboxDefect for faults of ours; ValueError for arguments that cannot be sent.
        """
        if len(files) > self.limits.open_files:
            found = f"{len(files)} files, at most {self.limits.open_files}."
            raise LimitExceeded("Too many files at once.", detail=found, fix="Send them as one zip.")
        seconds = self.limits.wall_s if wall_s is None else wall_s
        with _reopened(files, output) as fds:
            channel = self._child()
            header = {"job": job, "meta": dict(meta or {}), "files": [name for name, _ in files], "output": output is not None}
            frame = self._exchange(channel, header, arrays or {}, fds, seconds)
        error = frame.header.get("error")
        if error is not None:
            self._raise(job, error)
        answered = frame.header.get("meta")
        if not isinstance(answered, dict):
            self._fail(job, "Its answer holds no result.")
        return Reply(answered, frame.arrays, self._staged(job, output))

    def _exchange(
        self, channel: socket.socket, header: dict[str, Any], arrays: Mapping[str, NDArray[Any]], fds: Sequence[int], seconds: float
    ) -> Frame:
        deadline, token, job = Deadline(seconds), secrets.token_hex(8), header["job"]
        try:
            write_frame(channel, header | {"token": token}, arrays, deadline)
            send_fds(channel, fds, deadline)
            frame = read_frame(channel, self.limits.reply, deadline)
        except TimeoutError as error:
            self._discard()
            found = f"{job}: still running after {seconds:g} s."
            raise LimitExceeded("The time limit was reached.", detail=found, fix="Use a smaller model or fewer samples.") from error
        except TooLarge as error:
            self._discard()
            raise LimitExceeded("The result is too large.", detail=f"{job}: {error}.", fix="Use fewer or smaller samples.") from error
        except FrameError as error:
            self._fail(job, f"Its answer cannot be read: {error}.")
        except (Closed, OSError) as error:
            raise error_of_ending(job, self._ended(), self.limits) from error
        except BaseException:
            # An interruption in the middle of an exchange: what the child says next would answer the wrong request.
            self._discard()
            raise
        # A child may have put an answer on the channel before it was asked.
        if frame.header.get("token") != token:
            self._fail(job, "Its answer belongs to no request.")
        return frame

    def _child(self) -> socket.socket:
        if self._channel is not None:
            return self._channel
        zygote, pid, channel = self._start()
        self._owner = zygote, pid
        self.generation += 1
        self._channel = channel
        try:
            hello = read_frame(channel, 0, Deadline(_HELLO_SECONDS)).header
            if "walls" not in hello:
                raise SandboxDefect("A child could not put up its walls.", str(hello.get("failed"))[:8_000])
            self._walls = _walls_of(hello["walls"])
        except (Closed, FrameError, OSError) as error:
            ending = self._ended()
            raise SandboxDefect(f"A child ended before its first request: {ending}.") from error
        except BaseException:
            self._discard()
            raise
        return channel

    def _start(self) -> tuple[Zygote, int, socket.socket]:
        try:
            return self._fork(self.limits)
        except ZygoteGone as error:
            raise SandboxDefect("The sandbox ended while it was asked for a child.", str(error)) from error

    def _discard(self) -> Ending:
        assert self._owner is not None and self._channel is not None
        owner, channel = self._owner, self._channel
        self._owner, self._channel, self._walls = None, None, None
        channel.close()
        return self._end(*owner)

    def _ended(self) -> Ending:
        try:
            return self._discard()
        except ZygoteGone as error:
            raise SandboxDefect("The sandbox ended in the middle of a call.", str(error)) from error

    def _fail(self, job: str, why: str) -> NoReturn:
        self._discard()
        fix = "Check the file; report it to an operator if it is sound."
        raise ExecutionFailed("The sandboxed process did not behave.", detail=f"{job}: {why}", fix=fix)

    def _raise(self, job: str, error: Any) -> NoReturn:
        raised, keep = error_of(job, error, self.limits)
        if not keep:
            self._discard()
        raise raised

    def _staged(self, job: str, output: int | None) -> dict[str, StagedTensor]:
        if output is None:
            return {}
        self._discard()
        try:
            return read_index(output, self.limits.output)
        except ValueError as error:
            found = f"{job}: its result file is not valid: {error}."
            raise ExecutionFailed("The sandboxed process did not behave.", detail=found) from error


def _walls_of(report: Any) -> Walls:
    names = {item.name for item in fields(Walls)}
    if not isinstance(report, dict) or set(report) != names:
        raise FrameError("a report on the walls of another kind")
    return Walls(**(report | {"sentences": tuple(report["sentences"])}))


@contextlib.contextmanager
def _reopened(files: Sequence[tuple[str, int]], output: int | None) -> Iterator[list[int]]:
    """Descriptors of their own offsets and rights, closed afterwards: read-only for the files, read and write for the output."""
    with contextlib.ExitStack() as stack:
        opened = []
        wanted = ([(output, os.O_RDWR)] if output is not None else []) + [(fd, os.O_RDONLY) for _, fd in files]
        for fd, mode in wanted:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError(f"descriptor {fd} is not a regular file")
            opened.append(os.open(f"/proc/self/fd/{fd}", mode | os.O_CLOEXEC))
            stack.callback(os.close, opened[-1])
        yield opened
