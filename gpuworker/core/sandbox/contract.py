"""What both sides of the sandbox agree on: limits, requests, replies, the table of jobs, the report on the walls."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from gpuworker.core.protocols import SourceFile

GIB = 1 << 30
Device = Literal["cpu", "cuda"]
Grade = Literal["confined", "partly confined", "unconfined"]


class SandboxDefect(RuntimeError):
    """A fault of ours: a job raised something that is no `UserError`, or the sandbox itself broke. `trace` is for the log only."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace
        if trace:
            self.add_note(trace)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child may use. Sizes in bytes, times in seconds.

    memory: address space it may add to what it starts with, mapped files included; not enforced on "cuda", whose driver
    reserves far more than it uses. cpu_s: processor time of each call, all threads together. wall_s: clock time of each
    call unless the call names its own. output: size of a file given as `output`; 0 = it may write no file.
    reply: bytes of the arrays of one reply. open_files: files of one call. threads: torch threads.
    """

    memory: int = 4 * GIB
    cpu_s: int = 600
    wall_s: float = 120.0
    output: int = 0
    reply: int = GIB // 4
    open_files: int = 1024
    threads: int = 1
    device: Device = "cpu"

    def __post_init__(self) -> None:
        if min(self.memory, self.cpu_s, self.wall_s, self.reply, self.open_files, self.threads) <= 0 or self.output < 0:
            raise ValueError(f"limits must be positive: {self}")
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"unknown device {self.device!r}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RequestFile:
    """A read-only file descriptor inside the child, closed after the job; a memory map made of it may live on."""

    name: str
    fd: int
    size: int

    def source(self) -> SourceFile:
        """The file as the readers take it, at offset 0."""
        os.lseek(self.fd, 0, os.SEEK_SET)
        return SourceFile(self.name, os.fdopen(self.fd, "rb", closefd=False), self.size)


@dataclass(frozen=True, slots=True)
class Request:
    """What a job is given. output: descriptor of an empty file that the job may fill through `staging.write_tensors`."""

    meta: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    files: Sequence[RequestFile] = ()
    output: int | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class StagedTensor:
    """Where one tensor lies in a staged file: safetensors dtype name, shape, first byte in the file, bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What a job gives back. meta: JSON with finite numbers. staged: filled in by the parent after it checked the output file."""

    meta: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    staged: Mapping[str, StagedTensor] = field(default_factory=dict)


State = dict[str, Any]
"""What the jobs of one session keep between calls; gone when `Session.generation` has changed."""

Job = Callable[[State, Request], Reply]


@dataclass(frozen=True, slots=True)
class Walls:
    """What stands between a child and the machine, as a real child reported it.

    landlock: ABI version, 0 = not in force. seccomp: number of allowed system calls, 0 = no filter. sentences: for people.
    """

    landlock: int
    seccomp: int
    network_namespace: bool
    user_namespace: bool
    empty_root: bool
    bubblewrap: bool
    uid: int
    no_new_privileges: bool
    rlimits: Mapping[str, int]
    grade: Grade
    sentences: tuple[str, ...]
