"""Trained networks as files: ONNX for stacks of linear layers, torch.export archives for the rest. Batch sizes stay free."""

from __future__ import annotations

import io

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.export import Dim

OPSET = 17


def as_onnx(model: nn.Module, example: torch.Tensor) -> bytes:
    """A stack of linear layers and ReLUs as Gemm and Relu nodes. Raises ValueError for any other layer."""
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    value = "input"
    assert isinstance(model, nn.Sequential)
    for index, layer in enumerate(model):
        result = f"v{index}" if index < len(model) - 1 else "logits"
        match layer:
            case nn.Linear():
                weights += [_weight(f"w{index}", layer.weight), _weight(f"b{index}", layer.bias)]
                nodes.append(helper.make_node("Gemm", [value, f"w{index}", f"b{index}"], [result], transB=1))
            case nn.ReLU():
                nodes.append(helper.make_node("Relu", [value], [result]))
            case _:
                raise ValueError(f"{type(layer).__name__} has no ONNX form here")
        value = result
    labels = int(weights[-1].dims[0])
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *example.shape[1:]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", labels])],
        weights,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def as_pt2(model: nn.Module, example: torch.Tensor) -> bytes:
    """A torch.export archive with a free batch size."""
    program = torch.export.export(model, (example,), dynamic_shapes=({0: Dim("batch", min=1, max=4096)},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _weight(name: str, parameter: torch.Tensor) -> onnx.TensorProto:
    return numpy_helper.from_array(parameter.detach().numpy(), name)
