"""ONNX and ONNX-ML files: bytes to Program, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import onnx
import torch

from gpuworker.core.errors import UnreadableModel, UnsupportedOperator
from gpuworker.core.formats import onnx_math, onnx_ml, onnx_nn, onnx_shape
from gpuworker.core.formats.batch import Attempt, open_batch
from gpuworker.core.formats.facts import ReadModel, facts_of
from gpuworker.core.formats.onnx_file import Tensors, attributes_of, main_file, operators, ordered, parse, read_bytes
from gpuworker.core.formats.onnx_node import DTYPE_OF_CODE, FIX, Ints, Item, Node, Result
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import MAX_NAME, MAX_PORTS, MAX_RANK, Input
from gpuworker.core.program.values import Value

HANDLERS: dict[tuple[str, str], Callable[[Node], Result]] = {
    **{("", name): handler for table in (onnx_math, onnx_shape, onnx_nn) for name, handler in table.HANDLERS.items()},
    **{("ai.onnx.ml", name): handler for name, handler in onnx_ml.HANDLERS.items()},
}
OLDEST, NEWEST = 6, 26
_BROKEN = "Export the model again and upload the new file."


def read(files: Mapping[str, BinaryIO], config: Mapping[str, Any] | None = None) -> ReadModel:
    """Read a model, with its weights inside or in uploaded data files. `config` is not used.

    Raises UnreadableModel, UnsupportedOperator (naming every operator that is missing) or LimitExceeded.
    """
    model = parse(read_bytes(files[main_file(files)], "the model"))
    opsets = _opsets(model)
    _check_operators(model.graph)
    tensors = Tensors(files)
    weights = {proto.name: tensors.read(proto) for proto in model.graph.initializer}
    inputs = [_input(item) for item in model.graph.input if item.name not in weights]
    if len(inputs) > MAX_PORTS or not inputs:
        raise UnreadableModel("The model's inputs are malformed.", detail=f"Found {len(inputs)}, expected 1 to {MAX_PORTS}.", fix=_BROKEN)
    nodes = ordered(model.graph, [*weights, *(item.name for item in inputs)])
    decoded = [attributes_of(node, tensors) for node in nodes]
    labels: list[str] = []
    notes: list[str] = []

    def attempt(ports: tuple[Input, ...], declared_batch: int | None) -> Attempt:
        builder = Builder(ports, declared_batch=declared_batch)
        env: dict[str, Item] = {item.name: value for item, value in zip(ports, builder.inputs, strict=True)}
        env |= {name: builder.weight(tensor) for name, tensor in weights.items()}
        labels.clear()
        for node, attributes in zip(nodes, decoded, strict=True):
            _convert(node, attributes, opsets, env, builder, labels)
        outputs = []
        for item in model.graph.output:
            if item.name not in env:
                raise UnreadableModel("The graph is malformed.", detail=f"Output {item.name[:MAX_NAME]!r} is never made.", fix=_BROKEN)
            found = env[item.name]
            outputs.append((item.name, Node("Output", item.name, 0, [found], {}, 0, builder).tensor()))
        return Attempt(builder, tuple(outputs))

    program, values, note = open_batch(tuple(inputs), attempt)
    notes += [note] if note else []
    opset = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in sorted(opsets.items()))
    producer = f"{model.producer_name} {model.producer_version}".strip()
    return ReadModel(program, values, facts_of(program, "onnx", producer, opset, tuple(labels), tuple(notes)))


def _opsets(model: onnx.ModelProto) -> dict[str, int]:
    opsets = {"" if item.domain == "ai.onnx" else item.domain[:MAX_NAME]: item.version for item in model.opset_import}
    version = opsets.get("", NEWEST)
    if not OLDEST <= version <= NEWEST:
        detail = f"The model uses opset {version}; {OLDEST} to {NEWEST} are supported."
        raise UnsupportedOperator("The model uses an operator set that is not supported.", detail=detail, fix=FIX)
    return opsets


def _check_operators(graph: onnx.GraphProto) -> None:
    """Name everything that is missing at once, so that one new export can mend it all."""
    missing = sorted({key for key in operators(graph) if key not in HANDLERS})
    if missing:
        names = ", ".join(f"{domain}::{name}" if domain else name for domain, name in missing[:40])
        raise UnsupportedOperator("The model needs operators that are not supported.", detail=names, fix=FIX)


def _input(item: onnx.ValueInfoProto) -> Input:
    if not item.type.HasField("tensor_type") or item.type.tensor_type.elem_type not in DTYPE_OF_CODE:
        kind = "text" if item.type.tensor_type.elem_type == onnx.TensorProto.STRING else "not a numeric tensor"
        raise UnsupportedOperator(
            "The model has an input that cannot be fed.", detail=f"Input {item.name[:MAX_NAME]!r} is {kind}.", fix=FIX
        )
    tensor = item.type.tensor_type
    if not tensor.HasField("shape") or len(tensor.shape.dim) > MAX_RANK:
        raise UnreadableModel(
            "The model's inputs are malformed.", detail=f"Input {item.name[:MAX_NAME]!r} has no usable shape.", fix=_BROKEN
        )
    shape = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in tensor.shape.dim)
    return Input(item.name, DTYPE_OF_CODE[tensor.elem_type], shape)


def _convert(
    node: onnx.NodeProto, attributes: dict[str, Any], opsets: Mapping[str, int], env: dict[str, Item], builder: Builder, labels: list[str]
) -> None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    wanted = len(node.output)
    while wanted and not node.output[wanted - 1]:
        wanted -= 1
    label = node.name or next((name for name in node.output if name), "unnamed")
    inputs = [env[name] if name else None for name in node.input]
    shell = Node(node.op_type, label[:MAX_NAME], opsets.get(domain, 1), inputs, attributes, wanted, builder, labels)
    try:
        result = HANDLERS[domain, node.op_type](shell)
    except (IndexError, ValueError, TypeError, KeyError, RuntimeError, OverflowError) as error:
        raise shell.broken(str(error).split("\n")[0][:200]) from error
    results: list[Item] = [result] if isinstance(result, (Value, Ints)) else list(result)
    if node.op_type == "Dropout":
        results = results[:1]
    for name, item in zip(node.output, results, strict=False):
        if name:
            env[name] = item
    for name in node.output[len(results) :]:
        if name and node.op_type != "Dropout":
            raise shell.refuse(f"output {name[:80]!r}")


def warm_up() -> None:
    """Touch what is loaded lazily on first use."""
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 2])
    made = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 2])
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2, 2], [1.0, 0.0, 0.0, 1.0])
    graph = onnx.helper.make_graph([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [value], [made], [weight])
    parse(onnx.helper.make_model(graph).SerializeToString())
    Tensors({}).read(weight)
    torch.get_num_threads()
