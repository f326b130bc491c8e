"""Results too large for the channel: written by the child, checked before anybody believes them, and fixed from then on."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gpuworker.core.errors import ExecutionFailed, LimitExceeded
from gpuworker.core.sandbox import Limits, Sandbox
from gpuworker.core.sandbox.staging import RawTensor, read_index, write_tensors

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 4), np.int64),
    "one": np.array(7),
}


def test_output_is_read_by_the_safetensors_library(sandbox: Sandbox, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+b") as out, sandbox.session(Limits(output=1 << 20)) as session:
        reply = session.call("write_output", arrays=ARRAYS, output=out.fileno())
    loaded = load_file(tmp_path / "out")
    assert set(loaded) == set(reply.staged) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array)
        entry = reply.staged[name]
        assert (entry.shape, entry.nbytes) == (array.shape, array.nbytes)
        assert (tmp_path / "out").read_bytes()[entry.offset : entry.offset + entry.nbytes] == array.tobytes()


def test_index_reads_what_the_library_writes(tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / "out")
    with (tmp_path / "out").open("rb") as stream:
        assert {name: entry.shape for name, entry in read_index(stream.fileno(), 1 << 20).items()} == {
            name: array.shape for name, array in ARRAYS.items()
        }


def test_output_cannot_outgrow_its_limit(sandbox: Sandbox, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+b") as out, sandbox.session(Limits(output=1 << 20)) as session:
        with pytest.raises(LimitExceeded, match="result file is too large"):
            session.call("overgrow_output", {"bytes": 2 << 20}, output=out.fileno())
        assert (tmp_path / "out").stat().st_size <= 1 << 20
        session.call("overgrow_output", {"bytes": 1 << 19}, output=out.fileno())


def test_output_cannot_change_after_it_was_checked(sandbox: Sandbox, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+b") as out, sandbox.session(Limits(output=1 << 20)) as session:
        session.call("write_output_late", output=out.fileno())
        checked = (tmp_path / "out").read_bytes()
        generation = session.generation
        time.sleep(0.6)
        session.call("count")
        assert session.generation == generation + 1
    assert (tmp_path / "out").read_bytes() == checked


def _file(header: object, body: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def _entry(shape: object, start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


BAD = {
    "short": b"abc",
    "endless header": _file({}, b"", 1 << 60),
    "no json": _file(b"{'a'}", b""),
    "no object": _file([], b""),
    "overlap": _file({"a": _entry([4], 0, 16), "b": _entry([4], 8, 24)}, b"\0" * 24),
    "gap": _file({"a": _entry([4], 0, 16), "b": _entry([4], 20, 36)}, b"\0" * 36),
    "past the end": _file({"a": _entry([1 << 40], 0, 4 << 40)}, b"\0" * 16),
    "left over": _file({"a": _entry([4], 0, 16)}, b"\0" * 20),
    "lying shape": _file({"a": _entry([5], 0, 16)}, b"\0" * 16),
    "negative": _file({"a": _entry([-4], 0, -16)}, b""),
    "dtype": _file({"a": _entry([4], 0, 16, "O")}, b"\0" * 16),
    "dtype is a list": _file({"a": _entry([4], 0, 16) | {"dtype": []}}, b"\0" * 16),
    "shape is text": _file({"a": _entry("4", 0, 16)}, b"\0" * 16),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_output_is_refused(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    with (
        (tmp_path / "out").open("w+b") as out,
        sandbox.session(Limits(output=1 << 20)) as session,
        pytest.raises(ExecutionFailed, match="result file is not valid"),
    ):
        session.call("write_raw_output", arrays={"bytes": np.frombuffer(BAD[name], np.uint8)}, output=out.fileno())


def test_raw_tensor_must_fill_its_shape(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+b") as out, pytest.raises(ValueError, match="12 bytes for shape"):
        write_tensors(out.fileno(), {"x": RawTensor("F32", (4,), memoryview(bytes(12)))})
