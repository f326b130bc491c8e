"""What a session promises its caller while jobs answer, fail, lie, crash or do not end."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gpuworker.core.errors import ExecutionFailed, LimitExceeded, UserError
from gpuworker.core.sandbox import Limits, Sandbox, SandboxDefect, Session
from gpuworker.core.sandbox.endings import USER_ERRORS
from tests.core.sandbox.lies import LIES, arrays_header, frame_bytes


def test_arrays_come_back_as_they_went(sandbox: Sandbox) -> None:
    arrays = {
        "float": np.linspace(0, 1, 7, dtype=np.float32),
        "matrix": np.arange(12, dtype=np.int64).reshape(3, 4).T,
        "flags": np.array([True, False]),
        "half": np.ones((2, 1, 3), np.float16),
        "big endian": np.arange(3, dtype=">i4"),
        "empty": np.zeros((0, 5), np.uint8),
        "scalar": np.array(3.5),
    }
    with Sandbox() as product, product.session(Limits()) as session:
        reply = session.call("ping", {"text": "ümlaut", "none": None}, arrays)
    assert reply.meta["echo"] == {"text": "ümlaut", "none": None}
    for name, sent in arrays.items():
        assert reply.arrays[name].shape == sent.shape
        assert reply.arrays[name].dtype == sent.dtype.newbyteorder("<")
        np.testing.assert_array_equal(reply.arrays[name], sent)
    np.testing.assert_array_equal(reply.arrays["product"], np.arange(16).reshape(4, 4))


def test_state_lives_until_the_child_dies(session: Session) -> None:
    assert [session.call("count").meta["count"] for _ in range(3)] == [1, 2, 3]
    assert session.generation == 1
    with pytest.raises(ExecutionFailed):
        session.call("segfault")
    assert session.call("count").meta["count"] == 1
    assert session.generation == 2
    session.reset()
    assert session.call("count").meta["count"] == 1
    assert session.generation == 3


@pytest.mark.parametrize("threads", [1, 2])
def test_libraries_work_behind_the_walls(sandbox: Sandbox, threads: int) -> None:
    with sandbox.session(Limits(threads=threads)) as session:
        meta = session.call("libraries").meta
    assert set(meta["images"]) == {"PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"}
    assert (meta["rows"], meta["csv"], meta["lines"], meta["tokens"]) == (2_000, 50_000, 5_000, [[0, 1], [1, 2]])
    assert meta["finite"] is True
    assert meta["threads"] == threads


def test_files_are_mapped_and_kept(session: Session, tmp_path: Path) -> None:
    for index in range(450):
        (tmp_path / str(index)).write_bytes(bytes([index % 251]) * 3)
    opened = [(str(index), os.open(tmp_path / str(index), os.O_RDONLY)) for index in range(450)]
    try:
        sums = session.call("map_files", files=opened).meta
    finally:
        for _, fd in opened:
            os.close(fd)
    assert sums == {str(index): index % 251 * 3 for index in range(450)}
    assert session.call("map_files").meta == sums


def test_too_many_files_are_refused_before_they_are_sent(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with path.open("rb") as stream, sandbox.session(Limits(open_files=2)) as session:
        with pytest.raises(LimitExceeded, match="3 files, at most 2"):
            session.call("map_files", files=[(str(index), stream.fileno()) for index in range(3)])
        with pytest.raises(ValueError, match="not a regular file"):
            session.call("map_files", files=[("null", os.open(os.devnull, os.O_RDONLY))])


@pytest.mark.parametrize("code", USER_ERRORS)
def test_user_errors_keep_class_and_texts(session: Session, code: str) -> None:
    with pytest.raises(UserError) as caught:
        session.call("raise_user", {"code": code})
    assert type(caught.value) is USER_ERRORS[code]
    assert (caught.value.title, caught.value.detail, caught.value.fix) == ("Title.", "detail", "fix")
    session.call("count")
    assert session.generation == 1


def test_every_user_error_is_known() -> None:
    known = {UserError}
    for kind in (found := [UserError]):
        found.extend(kind.__subclasses__())
        known.update(kind.__subclasses__())
    assert {kind for kind in known if kind.__module__ == "gpuworker.core.errors"} == set(USER_ERRORS.values())


def test_unknown_user_error_becomes_the_general_one(session: Session) -> None:
    with pytest.raises(UserError) as caught:
        session.call("raise_own")
    assert type(caught.value) is UserError


@pytest.mark.parametrize(
    ("job", "cause"), [("defect", "our mistake"), ("not_a_number", "NaN|float"), ("import_late", "xmlrpc"), ("no such job", "no such job")]
)
def test_our_faults_are_defects_with_a_trace(session: Session, job: str, cause: str) -> None:
    with pytest.raises(SandboxDefect, match=cause) as caught:
        session.call(job)
    assert "Traceback" in caught.value.trace
    assert session.call("count").meta == {"count": 1}


ENDINGS = [
    ("segfault", {}, ExecutionFailed, "SIGSEGV"),
    ("abort", {}, ExecutionFailed, "SIGABRT"),
    ("leave", {}, ExecutionFailed, "without an answer"),
    ("memory_error", {"bytes": 4 << 30}, LimitExceeded, "memory limit"),
    ("huge_reply", {"bytes": 1 << 25}, LimitExceeded, "result is too large"),
    ("spin", {}, LimitExceeded, "processor time"),
]


@pytest.mark.parametrize(("job", "meta", "kind", "cause"), ENDINGS)
def test_bad_endings_are_named_and_the_session_goes_on(
    sandbox: Sandbox, job: str, meta: dict[str, int], kind: type[UserError], cause: str
) -> None:
    with sandbox.session(Limits(memory=1 << 30, cpu_s=1, wall_s=60, reply=1 << 24)) as session:
        session.call("count")
        with pytest.raises(kind, match=cause):
            session.call(job, meta)
        assert session.call("count").meta == {"count": 1}
        assert session.generation == 2


@pytest.mark.parametrize("job", ["sleep", "spin"])
def test_wall_clock_ends_a_call(sandbox: Sandbox, job: str) -> None:
    with sandbox.session(Limits()) as session:
        with pytest.raises(LimitExceeded, match="still running after 0.5 s"):
            session.call(job, wall_s=0.5)
        assert session.call("count").meta == {"count": 1}


def test_foreign_system_calls_end_the_child(sandbox: Sandbox) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("only this machine has a second set of system calls")
    with sandbox.session(Limits()) as session, pytest.raises(ExecutionFailed, match="forbidden system call"):
        session.call("foreign_call")


def test_processor_time_is_counted_per_call(sandbox: Sandbox) -> None:
    with sandbox.session(Limits(cpu_s=1)) as session:
        for _ in range(4):
            with pytest.raises(LimitExceeded, match="wall|still running"):
                session.call("spin", wall_s=0.8)
            session.call("count")
        for _ in range(30):
            session.call("libraries")
        assert session.generation == 5


@pytest.mark.parametrize("lie", LIES)
def test_lying_frames_are_refused(sandbox: Sandbox, lie: str) -> None:
    with sandbox.session(Limits(memory=1 << 30, reply=1 << 24)) as session:
        with pytest.raises((ExecutionFailed, LimitExceeded)) as caught:
            session.call("say", {"then": "leave"}, {"bytes": np.frombuffer(LIES[lie], np.uint8)})
        assert caught.value.detail.startswith("say: ")
        assert session.call("count").meta == {"count": 1}


def test_half_a_frame_ends_by_the_clock(session: Session) -> None:
    unfinished = frame_bytes(arrays_header(["x", "uint8", [5]]), b"abc", body_bytes=5)
    with pytest.raises(LimitExceeded, match="still running"):
        session.call("say", {"then": "wait"}, {"bytes": np.frombuffer(unfinished, np.uint8)}, wall_s=0.5)
    assert session.call("count").meta == {"count": 1}


def test_an_answer_before_the_question_is_refused(session: Session) -> None:
    session.call("answer_twice")
    with pytest.raises(ExecutionFailed, match="belongs to no request"):
        session.call("sleep", {"seconds": 1})
    assert session.call("count").meta == {"count": 1}


def test_an_interruption_costs_the_child(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    session.call("count")
    with monkeypatch.context() as patch:
        patch.setattr("gpuworker.core.sandbox.session.read_frame", interrupt)
        with pytest.raises(Interrupted):
            session.call("count")
    assert session.call("count").meta == {"count": 1}


def test_what_cannot_be_sent_is_the_callers_fault(session: Session) -> None:
    session.call("count")
    for meta, arrays in (({"x": float("inf")}, {}), ({"x": object()}, {}), ({}, {"x": np.array(["text"])}), ({}, {"x": np.array([None])})):
        with pytest.raises((ValueError, TypeError)):
            session.call("count", meta, arrays)
    assert session.call("count").meta["count"] >= 1
