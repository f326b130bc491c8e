"""Reading an uploaded model and trying it once, inside the sandbox."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpuworker.core import input_spec
from gpuworker.core.errors import ExecutionFailed, TrialFailed
from gpuworker.core.formats import read_model as read_format
from gpuworker.core.program.execute import run_batched
from gpuworker.core.program.keys import tensor_bytes, value_keys
from gpuworker.core.program.model import Program
from gpuworker.core.program.ops.kind import DTYPES
from gpuworker.core.sandbox.contract import Reply, Request, State
from gpuworker.core.sandbox.staging import RawTensor, write_tensors
from gpuworker.core.work.execution import encode, predict, tensors_of
from gpuworker.core.work.trial import synthetic_batch

_STAGED_NAMES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.int32: "I32", torch.int64: "I64",
    torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64",
    torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
}  # fmt: skip
TIMED = 3


def read_model(state: State, request: Request) -> Reply:
    """Read a model file into a program. meta: format, config. files: by the names they reference each other with.

    The tensors go to `output` under their content keys. Reply meta: program, facts, value_key.
    """
    sources = [file.source() for file in request.files]
    model = read_format(str(request.meta["format"]), {source.name: source.stream for source in sources}, request.meta.get("config"))
    assert request.output is not None
    write_tensors(
        request.output,
        {key: RawTensor(_STAGED_NAMES[tensor.dtype], tuple(tensor.shape), tensor_bytes(tensor)) for key, tensor in model.tensors.items()},
    )
    keys = value_keys(model.program)
    return Reply({"program": model.program.to_json(), "facts": asdict(model.facts), "value_key": keys[-1] if keys else ""})


def try_model(state: State, request: Request) -> Reply:
    """Run a model once on a few samples: of the loaded reference batch, or made up from its spec.

    meta, files: as `run_rows`. Raises ExecutionFailed or TrialFailed when shape, labels or values do not fit.
    Reply meta: latency_ms per sample (best of three); memory_bytes: weights in their own types, plus the most that the values
    alive at one time take while one sample (or one fixed batch) runs.
    """
    spec = input_spec.parse(request.meta["spec"])
    program = Program.from_json(request.meta["program"])
    tensors = tensors_of(request)
    batch = state.get("batch") or synthetic_batch(spec)
    rows = min(8, batch.n)
    inputs = encode(batch, spec, program, 0, rows)
    device = str(request.meta.get("device", "cpu"))
    best = math.inf
    for _ in range(TIMED):
        started = time.perf_counter()
        try:
            predict(program, tensors, inputs, spec, device)
        except ExecutionFailed as error:
            # A publisher is told how to mend the version, a searcher that it does not suit the samples.
            if isinstance(error.__cause__, TrialFailed):
                raise error.__cause__ from None
            raise
        best = min(best, time.perf_counter() - started)
        if best > 1.0:
            break
    return Reply(
        {"latency_ms": best * 1000 / rows, "memory_bytes": memory_bytes(program, tensors, encode(batch, spec, program, 0, 1), device)}
    )


def memory_bytes(program: Program, tensors: Mapping[str, torch.Tensor], one: Mapping[str, NDArray[Any]], device: str = "cpu") -> int:
    """Bytes of the weights plus the peak of the values alive while the inputs `one` (1, ...) run through the program."""
    weights = sum(math.prod(weight.shape) * DTYPES[weight.dtype].itemsize for weight in program.weights)
    seen = [sum(array.nbytes for array in one.values())]
    fed = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in one.items()}
    run_batched(program, tensors, fed, 1, device, seen.append)
    return weights + max(seen)
