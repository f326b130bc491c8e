"""Running a stored program on rows of a sample batch, inside the sandbox."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpuworker.core import input_spec
from gpuworker.core.errors import ExecutionFailed, TrialFailed
from gpuworker.core.input_spec import InputSpec
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS
from gpuworker.core.program.execute import run_batched
from gpuworker.core.program.model import Program
from gpuworker.core.program.store import StoredTensor, load
from gpuworker.core.protocols import SampleBatch
from gpuworker.core.sandbox.contract import Reply, Request, State
from gpuworker.core.work.outputs import log_probs

ENCODED_BYTES = 128 << 20
BATCH_SIZE = 64


def run_rows(state: State, request: Request) -> Reply:
    """Log-probabilities of one model on rows [start, stop) of the loaded samples.

    meta: program, spec (JSON documents), places (StoredTensor fields), start, stop, device. files: the packs by name.
    Reply: log_probs (stop - start, C) float32; meta.seconds is the time of the forward passes alone.
    """
    meta = request.meta
    spec = input_spec.parse(meta["spec"])
    program = Program.from_json(meta["program"])
    tensors = tensors_of(request)
    inputs = encoded(state, state["batch"], spec, program, int(meta["start"]), int(meta["stop"]))
    rows, seconds = predict(program, tensors, inputs, spec, str(meta.get("device", "cpu")))
    return Reply({"seconds": seconds}, {"log_probs": rows})


def predict(
    program: Program, tensors: Mapping[str, torch.Tensor], inputs: Mapping[str, NDArray[Any]], spec: InputSpec, device: str
) -> tuple[NDArray[np.float32], float]:
    """(N, C) float32 log-probabilities and the seconds they took. Raises ExecutionFailed, also for NaN outputs."""
    started = time.perf_counter()
    fed = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}
    outputs = run_batched(program, tensors, fed, BATCH_SIZE, device)
    seconds = time.perf_counter() - started
    return rows_of(outputs, spec).numpy(), seconds


def rows_of(outputs: Mapping[str, torch.Tensor], spec: InputSpec) -> torch.Tensor:
    """(N, C) float32 log-probabilities from a model's outputs by name. Raises ExecutionFailed, also for NaN."""
    try:
        return log_probs(outputs, spec)
    except TrialFailed as error:
        raise ExecutionFailed(
            error.title, detail=error.detail, fix="The model does not suit these samples, or its version is broken."
        ) from error


def encode(batch: SampleBatch, spec: InputSpec, program: Program, start: int, stop: int) -> dict[str, NDArray[Any]]:
    """Model inputs for rows [start, stop), by input name. A model that wants another shape of the same size is given it."""
    names = [item.name for item in program.inputs]
    inputs = MODALITY_IMPLEMENTATIONS[batch.modality].encode(batch, start, stop, spec.input, names)
    by_name = {item.name: item for item in program.inputs}
    return {name: _reshaped(array, by_name[name].shape) for name, array in inputs.items() if name in by_name}


def _reshaped(array: NDArray[Any], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """[N, 784] > [N, 784, 1] and the like: harmless re-readings that some exporters add. Others are left for the check of inputs."""
    wanted = list(shape[1:])
    if array.ndim == len(shape) or any(size is None for size in wanted):
        return array
    if int(np.prod(array.shape[1:])) == int(np.prod([size or 1 for size in wanted])):
        return array.reshape(len(array), *[size or 1 for size in wanted])
    return array


def encoding_key(spec: InputSpec, program: Program) -> str:
    """Equal for models that are fed the same."""
    names = [(item.name, item.shape[1:]) for item in program.inputs]
    return hashlib.sha256(json.dumps([spec.modality, dict(spec.input), names], sort_keys=True).encode()).hexdigest()


def encoded(state: State, batch: SampleBatch, spec: InputSpec, program: Program, start: int, stop: int) -> dict[str, NDArray[Any]]:
    """As `encode`, kept for the next candidate with the same input spec: shared preprocessing is done once."""
    key = encoding_key(spec, program), start, stop
    kept: OrderedDict[tuple[str, int, int], dict[str, NDArray[Any]]] = state.setdefault("encoded", OrderedDict())
    if key not in kept:
        made = kept[key] = encode(batch, spec, program, start, stop)
        held = state.get("encoded_bytes", 0) + _bytes(made)
        while held > ENCODED_BYTES and len(kept) > 1:
            held -= _bytes(kept.popitem(last=False)[1])
        state["encoded_bytes"] = held
    kept.move_to_end(key)
    return kept[key]


def _bytes(inputs: Mapping[str, NDArray[Any]]) -> int:
    return sum(array.nbytes for array in inputs.values())


def tensors_of(request: Request) -> dict[str, torch.Tensor]:
    places = [StoredTensor(**(place | {"shape": tuple(place["shape"])})) for place in request.meta["places"]]
    files = {file.name: os.fdopen(os.dup(file.fd), "rb") for file in request.files}
    try:
        return load(places, files)
    finally:
        for file in files.values():
            file.close()
