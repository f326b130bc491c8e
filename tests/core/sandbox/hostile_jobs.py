"""Jobs that attack their sandbox, and plain ones that need much of it. Reached only by a `Sandbox` that names this module."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable

import numpy as np
import onnx
import pyarrow
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
import tokenizers
import torch
from PIL import Image

from gpuworker.core.errors import UnsupportedOperator
from gpuworker.core.sandbox.contract import Job, Reply, Request, State
from gpuworker.core.sandbox.endings import USER_ERRORS
from gpuworker.core.sandbox.staging import RawTensor, write_tensors

LIBC = ctypes.CDLL(None, use_errno=True)


def _libc(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


# Attacks answer {"got": ...} when they succeed and {"refused": why} when the system says no.


def _attack(body: Callable[[Request], object]) -> Job:
    def job(state: State, request: Request) -> Reply:
        try:
            return Reply({"got": body(request)})
        except OSError as error:
            return Reply({"refused": str(error)})

    return job


def _read(request: Request) -> str:
    with open(request.meta["path"], "rb") as stream:
        return stream.read(60_000).decode(errors="replace")


def _write(request: Request) -> int:
    with open(request.meta["path"], "wb", buffering=0) as stream:
        return stream.write(b"was here")


def _look(request: Request) -> int:
    return os.stat(request.meta["path"]).st_size


def _connect(request: Request) -> bool:
    with socket.socket() as client:
        client.connect(("127.0.0.1", request.meta["port"]))
    return True


def _connect_abstract(request: Request) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + request.meta["name"])
    return True


def _fork(request: Request) -> bool:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    # Waiting is a call of its own, which may be refused when the fork was not.
    with contextlib.suppress(OSError):
        os.waitpid(pid, 0)
    return True


def _execute(request: Request) -> int:
    return subprocess.run(["/bin/true"], check=True).returncode


def _signal(request: Request) -> bool:
    os.kill(request.meta["pid"], signal.SIGTERM)
    return True


def _trace(request: Request) -> bool:
    attach, detach = 16, 17
    _libc(LIBC.ptrace(attach, request.meta["pid"], None, None))
    with contextlib.suppress(OSError):
        os.waitpid(request.meta["pid"], 0)
        _libc(LIBC.ptrace(detach, request.meta["pid"], None, None))
    return True


def _environment(request: Request) -> dict[str, str]:
    return dict(os.environ)


def _descriptors(request: Request) -> list[int]:
    found = []
    for fd in range(4096):
        try:
            os.fstat(fd)
        except OSError:
            continue
        found.append(fd)
    return [fd for fd in found if fd > 3]


def _memory(request: Request) -> int:
    try:
        return len(bytearray(request.meta["bytes"]))
    except MemoryError as error:
        raise OSError("no memory") from error


def _threads(request: Request) -> int:
    stop, started = threading.Event(), []
    try:
        for _ in range(request.meta["count"]):
            thread = threading.Thread(target=stop.wait)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    finally:
        stop.set()
        for thread in started:
            thread.join()
    return len(started)


def _more_memory(request: Request) -> bool:
    resource.prlimit(0, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return True


def _other_limit(request: Request) -> bool:
    resource.prlimit(0, resource.RLIMIT_NOFILE, (64, 64))
    return True


def _anonymous_file(request: Request) -> bool:
    os.close(os.memfd_create("hog"))
    return True


def _overwrite_input(request: Request) -> int:
    return os.pwrite(request.files[0].fd, b"was here", 0)


def _reopen_input(request: Request) -> int:
    return os.write(os.open(f"/proc/self/fd/{request.files[0].fd}", os.O_WRONLY), b"was here")


# Ways not to answer.


def _spin(state: State, request: Request) -> Reply:
    while True:
        pass


def _sleep(state: State, request: Request) -> Reply:
    time.sleep(request.meta.get("seconds", 3_600))
    return Reply()


def _segfault(state: State, request: Request) -> Reply:
    ctypes.string_at(0)
    return Reply()


def _abort(state: State, request: Request) -> Reply:
    os.abort()


def _leave(state: State, request: Request) -> Reply:
    os._exit(0)


def _foreign_call(state: State, request: Request) -> Reply:
    LIBC.syscall(0x40000000 + 39)
    return Reply()


def _huge_reply(state: State, request: Request) -> Reply:
    return Reply(arrays={"x": np.zeros(request.meta["bytes"], np.uint8)})


def _say(state: State, request: Request) -> Reply:
    """Write chosen bytes on the channel instead of a reply."""
    os.write(3, bytes(request.arrays["bytes"]))
    if request.meta["then"] == "leave":
        os._exit(0)
    time.sleep(3_600)
    return Reply()


def _answer_twice(state: State, request: Request) -> Reply:
    text = json.dumps({"meta": {"forged": True}, "token": "0" * 16, "arrays": []}).encode()
    threading.Timer(0.2, lambda: os.write(3, struct.pack("<IQ", len(text), 0) + text)).start()
    return Reply()


def _memory_error(state: State, request: Request) -> Reply:
    return Reply(meta={"sum": float(torch.ones(request.meta["bytes"] // 4).sum())})


# Plain jobs.


def _count(state: State, request: Request) -> Reply:
    state["count"] = state.get("count", 0) + 1
    return Reply({"count": state["count"]})


def _raise_user(state: State, request: Request) -> Reply:
    raise USER_ERRORS[request.meta["code"]]("Title.", detail="detail", fix="fix")


def _raise_own(state: State, request: Request) -> Reply:
    class Unknown(UnsupportedOperator):
        code = "made_up"

    raise Unknown("Title.", detail="detail", fix="fix")


def _defect(state: State, request: Request) -> Reply:
    raise KeyError("our mistake")


def _not_a_number(state: State, request: Request) -> Reply:
    return Reply({"x": float("nan")})


def _write_output(state: State, request: Request) -> Reply:
    assert request.output is not None
    write_tensors(request.output, {name: RawTensor.of(value) for name, value in request.arrays.items()})
    return Reply({"written": len(request.arrays)})


def _write_raw_output(state: State, request: Request) -> Reply:
    assert request.output is not None
    os.write(request.output, bytes(request.arrays["bytes"]))
    return Reply()


def _write_output_late(state: State, request: Request) -> Reply:
    """Answer with a sound file, then try to change it through a descriptor that was kept."""
    assert request.output is not None
    kept = os.dup(request.output)
    size = write_tensors(request.output, {"x": RawTensor.of(np.zeros(8))})

    def spoil() -> None:
        for _ in range(2_000):
            os.pwrite(kept, b"\xff" * 8, size - 8)
            time.sleep(0.001)

    state["thread"] = threading.Timer(0.2, spoil)
    state["thread"].start()
    return Reply()


def _overgrow_output(state: State, request: Request) -> Reply:
    assert request.output is not None
    write_tensors(request.output, {"x": RawTensor.of(np.zeros(request.meta["bytes"], np.uint8))})
    return Reply()


def _map_files(state: State, request: Request) -> Reply:
    state.update({file.name: mmap.mmap(file.fd, 0, prot=mmap.PROT_READ) for file in request.files})
    return Reply({name: int(np.frombuffer(view, np.uint8).sum()) for name, view in state.items()})


def _libraries(state: State, request: Request) -> Reply:
    """One use of each library that readers and runners stand on."""
    images = {}
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"):
        buffer = io.BytesIO()
        Image.new("RGB", (64, 48), (200, 10, 10)).save(buffer, kind)
        images[kind] = Image.open(io.BytesIO(buffer.getvalue())).convert("L").resize((8, 8)).getpixel((3, 3))
    table = pyarrow.table(
        {"x": list(range(2_000)), "t": ["text"] * 2_000, "when": pyarrow.array([0] * 2_000, pyarrow.timestamp("s", "UTC"))}
    )
    parquet = io.BytesIO()
    pyarrow.parquet.write_table(table, parquet)
    rows = pyarrow.parquet.read_table(io.BytesIO(parquet.getvalue()), use_threads=True).num_rows
    csv = pyarrow.csv.read_csv(io.BytesIO(b"a,b\n" + b"1,two\n" * 50_000)).num_rows
    lines = pyarrow.json.read_json(io.BytesIO(b'{"a": 1}\n' * 5_000)).num_rows
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Relu", ["x"], ["y"])],
            "g",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4])],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        )
    )
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(onnx.load_from_string(model.SerializeToString())))
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokens = [encoding.ids for encoding in words.encode_batch(["a b", "b c"])]
    torch.manual_seed(0)
    conv = torch.nn.functional.conv2d(torch.randn(32, 3, 32, 32), torch.randn(16, 3, 3, 3), padding=1)
    attention = torch.nn.functional.scaled_dot_product_attention(*torch.randn(3, 2, 4, 64, 16).unbind(0))
    product = torch.randn(600, 600) @ torch.randn(600, 600)
    finite = all(
        bool(torch.isfinite(value).all()) for value in (conv, attention, product, product.half().float(), product.bfloat16().float())
    )
    facts = {
        "images": images,
        "rows": rows,
        "csv": csv,
        "lines": lines,
        "tokens": tokens,
        "finite": finite,
        "threads": torch.get_num_threads(),
    }
    return Reply(facts)


def _import_late(state: State, request: Request) -> Reply:
    __import__("xmlrpc.server")
    return Reply()


JOBS: dict[str, Job] = {
    "read": _attack(_read), "write": _attack(_write), "look": _attack(_look), "connect": _attack(_connect),
    "connect_abstract": _attack(_connect_abstract), "fork": _attack(_fork), "execute": _attack(_execute), "signal": _attack(_signal),
    "trace": _attack(_trace), "environment": _attack(_environment), "descriptors": _attack(_descriptors), "memory": _attack(_memory),
    "threads": _attack(_threads), "more_memory": _attack(_more_memory), "other_limit": _attack(_other_limit),
    "anonymous_file": _attack(_anonymous_file),
    "overwrite_input": _attack(_overwrite_input), "reopen_input": _attack(_reopen_input),
    "spin": _spin, "sleep": _sleep, "segfault": _segfault, "abort": _abort, "leave": _leave, "foreign_call": _foreign_call,
    "huge_reply": _huge_reply, "say": _say, "answer_twice": _answer_twice, "memory_error": _memory_error,
    "count": _count, "raise_user": _raise_user, "raise_own": _raise_own, "defect": _defect, "not_a_number": _not_a_number,
    "write_output": _write_output, "write_raw_output": _write_raw_output, "write_output_late": _write_output_late,
    "overgrow_output": _overgrow_output, "map_files": _map_files, "libraries": _libraries, "import_late": _import_late,
}  # fmt: skip
