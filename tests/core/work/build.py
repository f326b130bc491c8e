"""Specs, programs and requests for the jobs of the worker's child, called here without a sandbox."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpuworker.core.input_spec import InputSpec, parse
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS
from gpuworker.core.modalities.options import ReadOptions
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import Input, Program
from gpuworker.core.program.store import TensorStore
from gpuworker.core.protocols import SampleBatch, SourceFile
from gpuworker.core.sandbox.contract import Request, RequestFile


def spec_of(
    modality: str, given: Mapping[str, Any], kind: str = "logits", labels: tuple[str, ...] = ("a", "b", "c"), **output: str
) -> InputSpec:
    return parse({"modality": modality, "input": dict(given), "output": {"kind": kind} | output, "labels": list(labels)})


def image_batch(n: int, side: int, seed: int = 0) -> SampleBatch:
    """n grey images of side x side."""
    buffer = io.BytesIO()
    np.savez(buffer, x=np.random.default_rng(seed).integers(0, 256, (n, side, side), dtype=np.uint8))
    buffer.seek(0)
    return MODALITY_IMPLEMENTATIONS["image"].read([SourceFile("x.npz", buffer, len(buffer.getvalue()))], ReadOptions()).batch


def linear(rows: torch.Tensor, shape: tuple[int | None, ...] | None = None) -> tuple[Program, Mapping[str, torch.Tensor]]:
    """logits = x @ rows.T; rows (C, I). shape: of the input, when it is not (None, I): it is flattened first."""
    builder = Builder((Input("x", "float32", shape or (None, rows.shape[1])),))
    x = builder.inputs[0] if shape is None else builder.emit("flatten", [builder.inputs[0]], {"dim": 1})
    return builder.finish([("logits", builder.emit("linear", [x, builder.weight(rows)]))])


@contextmanager
def request_of(
    store: TensorStore, program: Program, tensors: Mapping[str, torch.Tensor], spec: InputSpec, **meta: Any
) -> Iterator[Request]:
    """What the worker sends to have a stored program run."""
    places = store.write_pack(tensors)
    packs = sorted({place.pack for place in places})
    streams = [store.open_pack(pack) for pack in packs]
    files = tuple(RequestFile(pack, stream.fileno(), Path(stream.name).stat().st_size) for pack, stream in zip(packs, streams, strict=True))
    document = {"spec": spec.to_json(), "program": program.to_json(), "places": [asdict(place) for place in places]}
    try:
        yield Request(document | meta, files=files)
    finally:
        for stream in streams:
            stream.close()
