"""Model files that lie, swell, stall or spoil their outputs. Small on disk, built by the tests."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.abuse.canaries import sound_pt2
from tests.catalog.makers import SIDE

PIXELS = SIDE * SIDE
Node = onnx.NodeProto


def model_of(
    nodes: Sequence[Node],
    weights: Mapping[str, np.ndarray] | None = None,
    classes: int = 3,
    opset: int = 17,
    inputs: Sequence[tuple[str, Sequence[int | str]]] = (("x", ("n", PIXELS)),),
) -> onnx.ModelProto:
    """From x (n, 16) to `logits`."""
    graph = helper.make_graph(
        list(nodes),
        "hostile",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def onnx_of(nodes: Sequence[Node], weights: Mapping[str, np.ndarray] | None = None, classes: int = 3) -> bytes:
    return bytes(model_of(nodes, weights, classes).SerializeToString())


def head(source: str = "x", width: int = PIXELS) -> tuple[list[Node], dict[str, np.ndarray]]:
    """logits = source @ w."""
    w = np.random.default_rng(3).normal(size=(width, 3)).astype(np.float32)
    return [helper.make_node("MatMul", [source, "head"], ["logits"])], {"head": w}


def brightness(scale: float) -> tuple[list[Node], dict[str, np.ndarray]]:
    """`size`: (1,) int64, 1 for black samples and 1 + scale for white ones. Known only when real samples come."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "scale"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["whole", "one"], ["flat"]),
        helper.make_node("Add", ["flat", "one"], ["size"]),
    ]
    return nodes, {"scale": np.array(scale, np.float32), "one": np.array([1], np.int64)}


def _counted(value: str) -> tuple[list[Node], dict[str, np.ndarray]]:
    """logits of x, moved by the number of elements of a value whose shape only the data tell."""
    nodes = [
        helper.make_node("Size", [value], ["count"]),
        helper.make_node("Cast", ["count"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "number"], ["x2"]),
    ]
    tail, more = head("x2")
    return [*nodes, *tail], more


def memory_hog(scale: float) -> bytes:
    """Keeps eight values of size * 16 numbers per sample alive at once."""
    nodes, weights = brightness(scale)
    nodes += [
        helper.make_node("Concat", ["one", "one", "size"], ["repeats"], axis=0),
        helper.make_node("Unsqueeze", ["x", "last"], ["x3"]),
        helper.make_node("Tile", ["x3", "repeats"], ["v0"]),
    ]
    nodes += [helper.make_node("Exp", [f"v{i}"], [f"v{i + 1}"]) for i in range(8)]
    nodes += [helper.make_node("Sum", [f"v{i}" for i in range(9)], ["all"])]
    tail, more = _counted("all")
    return onnx_of([*nodes, *tail], weights | more | {"last": np.array([2], np.int64)})


def time_hog(scale: float, layers: int = 60) -> bytes:
    """Convolutions with a 33 x 33 kernel over images of 4 * size pixels a side."""
    nodes, weights = brightness(scale)
    nodes += [
        helper.make_node("Concat", ["one", "one", "size", "size"], ["repeats"], axis=0),
        helper.make_node("Reshape", ["x", "square"], ["x4"]),
        helper.make_node("Tile", ["x4", "repeats"], ["c0"]),
    ]
    nodes += [helper.make_node("Conv", [f"c{i}", "kernel"], [f"c{i + 1}"], pads=[16] * 4) for i in range(layers)]
    tail, more = _counted(f"c{layers}")
    weights |= {"square": np.array([-1, 1, SIDE, SIDE], np.int64), "kernel": np.full((1, 1, 33, 33), 1 / 33**2, np.float32)}
    return onnx_of([*nodes, *tail], weights | more)


def spoiled_by_black() -> bytes:
    """NaN for a sample without light."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["light"], keepdims=1),
        helper.make_node("Div", ["x", "light"], ["x2"]),
    ]
    tail, more = head("x2")
    return onnx_of([*nodes, *tail], more | {"axis": np.array([1], np.int64)})


def rows_by_light() -> bytes:
    """As many rows as it likes: one per sample as long as the samples are black."""
    nodes, weights = brightness(1.0)
    tail, more = head("x2")
    nodes += [
        helper.make_node("Concat", ["size", "one"], ["repeats"], axis=0),
        helper.make_node("Tile", ["x", "repeats"], ["x2"]),
    ]
    return onnx_of([*nodes, *tail], weights | more)


def wide_output() -> bytes:
    """A million numbers per sample."""
    return onnx_of([helper.make_node("MatMul", ["x", "w"], ["logits"])], {"w": np.zeros((PIXELS, 1 << 20), np.float32)}, 1 << 20)


def many_nodes(count: int) -> bytes:
    """A chain of Relu written without building its nodes one by one."""
    node = helper.make_node("Relu", ["x"], ["logits"]).SerializeToString()
    base = model_of([], {})
    base.graph.ClearField("node")
    graph = base.graph.SerializeToString() + _field(1, node) * count
    base.ClearField("graph")
    return bytes(base.SerializeToString() + _field(7, graph))


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def nested(depth: int) -> bytes:
    """A graph in a graph in a graph, written without building it: the library that builds models refuses such depths itself."""
    node = helper.make_node("Relu", ["x"], ["y"]).SerializeToString()
    for _ in range(depth):
        graph = _field(1, node)
        attribute = _field(1, b"body") + _field(6, graph) + b"\xa0\x01\x05"
        node = _field(2, b"y") + _field(4, b"Loop") + _field(5, attribute)
    base = model_of([helper.make_node("Relu", ["x"], ["logits"])])
    graph = base.graph.SerializeToString() + _field(1, node)
    base.ClearField("graph")
    return bytes(base.SerializeToString() + _field(7, graph))


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def changed(change: Callable[[onnx.ModelProto], None]) -> bytes:
    """A sound linear model after `change`."""
    nodes, weights = head()
    model = model_of(nodes, weights)
    change(model)
    return bytes(model.SerializeToString())


def changed_pt2(
    change: Callable[[dict[str, bytes], str], None], compression: int = zipfile.ZIP_STORED, names: Callable[[str], str] = lambda name: name
) -> bytes:
    """A sound archive after `change`, which is given its entries by name and the name of its root folder."""
    with zipfile.ZipFile(io.BytesIO(sound_pt2())) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries, next(iter(entries)).split("/")[0])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(names(name), data)
    return buffer.getvalue()


def changed_json(entries: dict[str, bytes], name: str, change: Callable[[Any], None]) -> None:
    document = json.loads(entries[name])
    change(document)
    entries[name] = json.dumps(document).encode()


def safetensors_of(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body
