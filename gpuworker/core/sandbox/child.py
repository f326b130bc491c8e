"""The serving loop of a locked child: one request after the other, until its parent closes the channel or ends it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from gpuworker.core.errors import UserError
from gpuworker.core.exhaustion import out_of_memory
from gpuworker.core.sandbox.contract import Job, Limits, Reply, Request, RequestFile, State, Walls
from gpuworker.core.sandbox.frames import Closed, Deadline, read_frame, receive_fds, write_frame
from gpuworker.core.sandbox.lock import allow_cpu

# Requests come from the parent, which is trusted; the memory limit bounds them.
_MAX_REQUEST = 1 << 42
_MAX_TEXT = 4_000


def serve(channel: socket.socket, jobs: Mapping[str, Job], limits: Limits, walls: Walls) -> None:
    """Say which walls stand, then answer requests for ever. Returns when the channel is closed."""
    forever = Deadline(None)
    state: State = {}
    torch.set_num_threads(limits.threads)
    write_frame(channel, {"walls": asdict(walls)}, {}, forever)
    with contextlib.suppress(Closed):
        while True:
            _answer(channel, jobs, limits, state)


def _answer(channel: socket.socket, jobs: Mapping[str, Job], limits: Limits, state: State) -> None:
    forever = Deadline(None)
    frame = read_frame(channel, _MAX_REQUEST, forever)
    header = frame.header
    fds = receive_fds(channel, len(header["files"]) + header["output"])
    try:
        reply = _run(jobs[header["job"]], state, _request(header, frame.arrays, fds, limits), limits.cpu_s)
        outcome, arrays = {"meta": dict(reply.meta)}, reply.arrays
    except Exception as error:
        outcome, arrays = {"error": _describe(error)}, {}
    finally:
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)
    try:
        write_frame(channel, outcome | {"token": header["token"]}, arrays, forever)
    except (ValueError, TypeError, MemoryError) as error:
        write_frame(channel, {"error": _describe(error), "token": header["token"]}, {}, forever)


def _request(header: Mapping[str, Any], arrays: Mapping[str, Any], fds: Sequence[int], limits: Limits) -> Request:
    output = fds[0] if header["output"] else None
    names: list[str] = header["files"]
    opened = fds[1:] if header["output"] else fds
    files = tuple(RequestFile(name, fd, os.fstat(fd).st_size) for name, fd in zip(names, opened, strict=True))
    return Request(header["meta"], arrays, files, output, limits)


def _run(job: Job, state: State, request: Request, cpu_s: int) -> Reply:
    allow_cpu(cpu_s)
    with torch.inference_mode():
        return job(state, request)


def _describe(error: Exception) -> dict[str, str]:
    """The error as plain text: the parent rebuilds only the classes it knows."""
    text = str(error)[:_MAX_TEXT]
    if out_of_memory(error):
        return {"kind": "memory", "detail": text}
    if isinstance(error, UserError):
        texts = {"title": error.title, "detail": error.detail, "fix": error.fix}
        return {"kind": "user", "code": error.code} | {key: str(text)[:_MAX_TEXT] for key, text in texts.items()}
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return {"kind": "output", "detail": text}
    trace = "".join(traceback.format_exception(error))[-_MAX_TEXT:]
    return {"kind": "defect", "detail": f"{type(error).__name__}: {text}", "trace": trace}
