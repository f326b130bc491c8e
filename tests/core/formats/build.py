"""Small model files made for tests: ONNX graphs by helper, torch.export archives in memory, zips with edits."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.export import Dim

CODES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.float16): TensorProto.FLOAT16,
    np.dtype(np.uint8): TensorProto.UINT8,
}
Shape = Sequence[int | str]


def onnx_bytes(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[Shape, np.dtype[Any]]],
    outputs: Sequence[str],
    weights: Mapping[str, np.ndarray] | None = None,
    opset: int = 17,
    ml: bool = False,
) -> bytes:
    """A serialised model. Output types are left to onnxruntime's own inference."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, CODES[np.dtype(dtype)], list(shape)) for name, (shape, dtype) in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid("ai.onnx.ml", 3)] if ml else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def reference(data: bytes, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What onnxruntime says."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))


def pt2_bytes(module: torch.nn.Module, example: torch.Tensor, dynamic: bool = True) -> bytes:
    shapes = ({0: Dim("batch", min=1, max=4096)},) if dynamic else None
    stream = io.BytesIO()
    torch.export.save(torch.export.export(module.eval(), (example,), dynamic_shapes=shapes), stream)
    return stream.getvalue()


def edited(
    data: bytes, edit: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED, extra: Mapping[str, bytes] | None = None
) -> io.BytesIO:
    """A copy of a zip with each entry passed through `edit` (None drops it) and `extra` entries added."""
    copy = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(copy, "w", compression) as target:
        for name in source.namelist():
            changed = edit(name, source.read(name))
            if changed is not None:
                target.writestr(name, changed)
        for name, content in (extra or {}).items():
            target.writestr(name, content)
    copy.seek(0)
    return copy
