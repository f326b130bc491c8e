"""The bytes of an ONNX file: parsed, capped and checked before anything is built. Only flat, uploaded data files are read."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from gpuworker.core.errors import LimitExceeded, UnreadableModel, UnsupportedOperator
from gpuworker.core.formats.onnx_node import DTYPE_OF_CODE, FIX
from gpuworker.core.program.model import MAX_NAME, MAX_OPS, MAX_PORTS, MAX_RANK, MAX_WEIGHTS
from gpuworker.core.program.ops.kind import DTYPES

MAX_BYTES = 2 << 30
MAX_GRAPH_DEPTH = 8
_BROKEN = "Export the model again and upload the new file."


def read_bytes(stream: BinaryIO, what: str) -> bytes:
    """The whole of a stream. Its size is asked for first: a read up to the cap would take the memory of the cap."""
    size = stream.seek(0, os.SEEK_END)
    if size > MAX_BYTES:
        raise LimitExceeded(
            "The file is too large.", detail=f"{what}: at most {MAX_BYTES} bytes are allowed.", fix="Export a smaller model."
        )
    stream.seek(0)
    return stream.read(size)


def main_file(files: Mapping[str, BinaryIO]) -> str:
    """The name of the model among the uploaded files; the others are its data files."""
    models = [name for name in files if name.lower().endswith(".onnx")] or list(files)
    if len(models) != 1:
        raise UnreadableModel(
            "It is not clear which file is the model.", detail=f"Found {sorted(files)}.", fix="Upload one .onnx file and its data files."
        )
    return models[0]


def parse(data: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError, RecursionError) as error:
        if "Arena alloc failed" in str(error):
            raise MemoryError("There is not enough of it to parse the model.") from error
        raise UnreadableModel("The file is not a readable ONNX model.", detail=str(error)[:200], fix=_BROKEN) from error
    if not model.HasField("graph") or not model.graph.output:
        raise UnreadableModel("The file is not a readable ONNX model.", detail="It has no graph, or the graph has no output.", fix=_BROKEN)
    _check_counts(model.graph)
    return model


def _check_counts(graph: onnx.GraphProto) -> None:
    """Caps on everything that costs time or memory later."""
    for what, items, most in (
        ("nodes", graph.node, MAX_OPS),
        ("tensors", graph.initializer, MAX_WEIGHTS),
        ("inputs", graph.input, MAX_WEIGHTS),
        ("outputs", graph.output, MAX_PORTS),
    ):
        if len(items) > most:
            raise LimitExceeded(
                f"The model has too many {what}.", detail=f"Found {len(items)}, at most {most} are allowed.", fix="Export a smaller model."
            )
    if graph.sparse_initializer:
        raise UnsupportedOperator("The model needs an operator that is not supported.", detail="Sparse weights.", fix=FIX)
    for node in graph.node:
        names = [*node.input, *node.output, node.name, node.op_type, node.domain]
        if any(len(name) > MAX_NAME for name in names) or len(names) > 4 * MAX_NAME:
            raise LimitExceeded(
                "A name or a list of the model is too long.", detail=f"At most {MAX_NAME} characters are allowed.", fix=_BROKEN
            )


def operators(graph: onnx.GraphProto, depth: int = 0) -> list[tuple[str, str]]:
    """(domain, name) of every node, those of inner graphs included."""
    if depth > MAX_GRAPH_DEPTH:
        raise LimitExceeded("The model nests graphs too deeply.", detail=f"At most {MAX_GRAPH_DEPTH} levels are allowed.", fix=FIX)
    found: list[tuple[str, str]] = []
    for node in graph.node:
        found.append(("" if node.domain == "ai.onnx" else node.domain, node.op_type))
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                found += operators(inner, depth + 1)
    return found


def ordered(graph: onnx.GraphProto, known: Sequence[str]) -> list[onnx.NodeProto]:
    """Nodes so that each comes after what it reads. Raises UnreadableModel naming a value nobody makes, or a loop."""
    makers: dict[str, int] = {}
    for place, node in enumerate(graph.node):
        for name in node.output:
            if name and name in makers:
                raise UnreadableModel("The graph is malformed.", detail=f"{name!r} is made twice.", fix=_BROKEN)
            makers[name] = place
    available = set(known)
    state = [0] * len(graph.node)
    order: list[onnx.NodeProto] = []
    for root in range(len(graph.node)):
        stack = [root]
        while stack:
            place = stack[-1]
            if state[place] == 2:
                stack.pop()
                continue
            needs = [name for name in graph.node[place].input if name and name not in available]
            missing = next((name for name in needs if name not in makers), None)
            if missing is not None:
                raise UnreadableModel("The graph is malformed.", detail=f"{missing!r} is read but nothing makes it.", fix=_BROKEN)
            waiting = [makers[name] for name in needs if state[makers[name]] != 2]
            if not waiting:
                state[place] = 2
                order.append(graph.node[place])
                stack.pop()
            elif state[place] == 1 and any(state[other] == 1 for other in waiting):
                raise UnreadableModel("The graph is malformed.", detail=f"Node {graph.node[place].name!r} depends on itself.", fix=_BROKEN)
            else:
                state[place] = 1
                stack += waiting
    return order


class Tensors:
    """Turns TensorProtos into torch tensors, from the model's own bytes or from an uploaded data file of exactly that name."""

    def __init__(self, files: Mapping[str, BinaryIO]) -> None:
        self._files = files
        self._data: dict[str, bytes] = {}
        self._total = 0

    def read(self, proto: onnx.TensorProto) -> torch.Tensor:
        dtype = DTYPE_OF_CODE.get(proto.data_type)
        if dtype is None:
            name = (
                onnx.TensorProto.DataType.Name(proto.data_type)
                if proto.data_type in onnx.TensorProto.DataType.values()
                else proto.data_type
            )
            raise UnsupportedOperator(
                "The model has a tensor of a type that is not supported.", detail=f"{proto.name!r} has type {name}.", fix=FIX
            )
        shape = tuple(proto.dims)
        if len(shape) > MAX_RANK or any(size < 0 for size in shape):
            raise UnreadableModel(
                "A tensor of the model is malformed.", detail=f"{proto.name!r} has shape {list(shape)[:20]}.", fix=_BROKEN
            )
        expected = math.prod(shape) * DTYPES[dtype].itemsize
        self._total += expected
        if self._total > MAX_BYTES:
            raise LimitExceeded(
                "The model's tensors are too large.", detail=f"At most {MAX_BYTES} bytes are allowed.", fix="Export a smaller model."
            )
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            return self._from_bytes(proto, self._external(proto, expected), dtype, shape)
        if proto.HasField("raw_data"):
            return self._from_bytes(proto, proto.raw_data, dtype, shape)
        return self._from_fields(proto, dtype, shape)

    @staticmethod
    def _from_bytes(proto: onnx.TensorProto, data: bytes | memoryview, dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
        expected = math.prod(shape) * DTYPES[dtype].itemsize
        if len(data) != expected:
            detail = f"{proto.name!r} of shape {list(shape)} needs {expected} bytes, found {len(data)}."
            raise UnreadableModel("A tensor's data does not fit its shape.", detail=detail, fix=_BROKEN)
        if not expected:
            return torch.empty(shape, dtype=DTYPES[dtype])
        return torch.frombuffer(bytearray(data), dtype=DTYPES[dtype]).reshape(shape)

    @staticmethod
    def _from_fields(proto: onnx.TensorProto, dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
        try:
            array = np.asarray(numpy_helper.to_array(proto))
            if dtype == "bfloat16":
                return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16).reshape(shape)
            return torch.from_numpy(np.array(array)).reshape(shape).to(DTYPES[dtype])
        except (ValueError, TypeError, RuntimeError) as error:
            detail = f"{proto.name!r} of shape {list(shape)}: {str(error)[:120]}"
            raise UnreadableModel("A tensor's data does not fit its shape.", detail=detail, fix=_BROKEN) from error

    def _external(self, proto: onnx.TensorProto, expected: int) -> memoryview:
        facts = {entry.key: entry.value for entry in proto.external_data}
        location = facts.get("location", "")
        if location not in self._files:
            raise UnreadableModel(
                "The model's weights are in another file that was not uploaded.",
                detail=f"{proto.name!r} lies in {location[:MAX_NAME]!r}; uploaded: {sorted(self._files)}.",
                fix="Upload that file together with the model, or export with the weights inside (save_as_external_data=False).",
            )
        if location not in self._data:
            stream = self._files[location]
            stream.seek(0)
            self._data[location] = read_bytes(stream, location)
        try:
            offset, length = int(facts.get("offset") or 0), int(facts.get("length") or expected)
        except ValueError as error:
            raise UnreadableModel(
                "A tensor's place in its data file is malformed.", detail=f"{proto.name!r}: {facts}"[:200], fix=_BROKEN
            ) from error
        data = self._data[location]
        if offset < 0 or length < 0 or offset + length > len(data):
            detail = f"{proto.name!r} wants bytes {offset} to {offset + length} of {location!r}, which has {len(data)}."
            raise UnreadableModel("A tensor lies outside its data file.", detail=detail, fix=_BROKEN)
        return memoryview(data)[offset : offset + length]


def attributes_of(node: onnx.NodeProto, tensors: Tensors) -> dict[str, Any]:
    """Attributes as plain Python values; tensors as torch tensors."""
    found: dict[str, Any] = {}
    kinds = onnx.AttributeProto
    for attribute in node.attribute:
        if attribute.type == kinds.TENSOR:
            found[attribute.name] = tensors.read(attribute.t)
        elif attribute.type in (kinds.FLOAT, kinds.INT, kinds.FLOATS, kinds.INTS):
            value = onnx.helper.get_attribute_value(attribute)
            found[attribute.name] = list(value) if attribute.type in (kinds.FLOATS, kinds.INTS) else value
        elif attribute.type == kinds.STRING:
            found[attribute.name] = attribute.s.decode("utf-8", "replace")
        elif attribute.type == kinds.STRINGS:
            found[attribute.name] = [item.decode("utf-8", "replace") for item in attribute.strings]
    return found
