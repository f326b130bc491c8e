"""The model readers as jobs, and torch's own loader as a careless reader would call it."""

from __future__ import annotations

import io
import pickle

import torch

from gpuworker.core.formats import onnx as onnx_reader
from gpuworker.core.formats import pt2 as pt2_reader
from gpuworker.core.sandbox.contract import Job, Reply, Request, State
from tests.abuse import canaries

READERS = {"onnx": onnx_reader.read, "pt2": pt2_reader.read}


def read(state: State, request: Request) -> Reply:
    sources = [file.source() for file in request.files]
    model = READERS[request.meta["format"]]({source.name: source.stream for source in sources})
    return Reply({"weights": len(model.tensors)})


def _load_and_run(data: bytes) -> None:
    torch.export.load(io.BytesIO(data)).module()(torch.zeros(2, 4))


def careless(state: State, request: Request) -> Reply:
    """Open it as nobody should. How that fails is of no interest."""
    data = request.files[0].source().stream.read()
    try:
        if request.meta["format"] == "pickle":
            pickle.loads(data)
        else:
            _load_and_run(data)
    except Exception as error:
        return Reply({"failed": str(error)[:500]})
    return Reply()


# torch.export loads much of itself late, which a locked child could not.
_load_and_run(canaries.sound_pt2())
JOBS: dict[str, Job] = {"read": read, "careless": careless}
