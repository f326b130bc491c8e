"""Every family of ONNX operators against onnxruntime, on small generated graphs with an open batch."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from gpuworker.core.errors import UnreadableModel
from gpuworker.core.formats import onnx as reader
from gpuworker.core.formats.facts import ReadModel
from gpuworker.core.program.execute import run
from tests.core.formats.build import onnx_bytes, reference

RNG = np.random.default_rng(5)
F32, I64 = np.dtype(np.float32), np.dtype(np.int64)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def check(data: bytes, feeds: dict[str, np.ndarray], tolerance: float = 2e-5) -> ReadModel:
    model = reader.read({"m.onnx": io.BytesIO(data)})
    expected = reference(data, feeds)
    found = run(model.program, model.tensors, {name: torch.from_numpy(value) for name, value in feeds.items()})
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert tuple(found[name].shape) == value.shape, name
        np.testing.assert_allclose(found[name].numpy().astype(np.float64), value.astype(np.float64), rtol=tolerance, atol=tolerance)
    return model


X4 = floats(3, 4, 6, 5)
Case = tuple[str, dict[str, Any], dict[str, np.ndarray], int]
ONE_INPUT: list[Case] = [
    *(
        (name, {}, {}, 17)
        for name in [
            "Relu",
            "Sigmoid",
            "Tanh",
            "Exp",
            "Abs",
            "Neg",
            "Floor",
            "Ceil",
            "Round",
            "Sign",
            "Erf",
            "Sin",
            "Cos",
            "Softplus",
            "Softsign",
            "HardSwish",
        ]
    ),
    ("Mish", {}, {}, 18),
    ("Gelu", {"approximate": "tanh"}, {}, 20),
    ("LeakyRelu", {"alpha": 0.2}, {}, 17),
    ("Elu", {"alpha": 0.7}, {}, 17),
    ("Selu", {}, {}, 17),
    ("Celu", {"alpha": 0.7}, {}, 17),
    ("ThresholdedRelu", {"alpha": 0.3}, {}, 17),
    ("HardSigmoid", {"alpha": 0.3}, {}, 17),
    ("Clip", {"min": -0.5, "max": 0.5}, {}, 10),
    ("Clip", {}, {"low": np.float32(-0.5), "high": np.float32(0.5)}, 17),
    ("PRelu", {}, {"slope": floats(4, 1, 1)}, 17),
    ("Add", {}, {"b": floats(5)}, 17),
    ("Sub", {}, {"b": floats(1)}, 17),
    ("Pow", {}, {"b": np.float32(2.0)}, 17),
    ("Softmax", {}, {}, 17),
    ("Softmax", {"axis": 1}, {}, 11),
    ("LogSoftmax", {"axis": 2}, {}, 17),
    *(
        (name, {"axes": [1, 3], "keepdims": 0}, {}, 17)
        for name in ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare"]
    ),
    ("ReduceSum", {}, {"axes": ints(2)}, 17),
    ("ReduceProd", {"axes": [1, 2]}, {}, 17),
    ("ArgMax", {"axis": 1, "keepdims": 0}, {}, 17),
    ("CumSum", {}, {"axis": np.array(2, dtype=np.int64)}, 17),
    ("Transpose", {"perm": [0, 2, 3, 1]}, {}, 17),
    ("Flatten", {"axis": 2}, {}, 17),
    ("Reshape", {}, {"shape": ints(0, -1, 2)}, 17),
    ("Unsqueeze", {}, {"axes": ints(1, -1)}, 17),
    ("Slice", {}, {"starts": ints(1, -1), "ends": ints(4, -100), "axes": ints(1, 2), "steps": ints(2, -2)}, 17),
    ("Slice", {"starts": [1], "ends": [9223372036854775807], "axes": [3]}, {}, 9),
    ("Pad", {"mode": "reflect"}, {"pads": ints(0, 0, 2, 1, 0, 0, 1, 2)}, 17),
    ("Pad", {"mode": "edge"}, {"pads": ints(0, 0, 2, 1, 0, 0, 1, 2)}, 17),
    ("Pad", {}, {"pads": ints(0, 1, 0, 2, 0, 0, -1, 0), "value": np.float32(1.5)}, 17),
    ("Tile", {}, {"repeats": ints(1, 2, 1, 3)}, 17),
    ("Expand", {}, {"shape": ints(2, 1, 4, 1, 1)}, 17),
    ("Gather", {"axis": 2}, {"indices": ints(0, -1, 3)}, 17),
    ("DepthToSpace", {"blocksize": 2}, {}, 17),
    ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, {}, 17),
    ("Trilu", {"upper": 0}, {}, 17),
    ("LRN", {"size": 3}, {}, 17),
    ("LpNormalization", {"axis": 1}, {}, 17),
    ("GlobalAveragePool", {}, {}, 17),
    ("GlobalMaxPool", {}, {}, 17),
    ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 0, 1]}, {}, 17),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, {}, 17),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, {}, 17),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, {}, 17),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 0, 0, 1], "strides": [2, 2]}, {}, 17),
    ("AveragePool", {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1}, {}, 17),
    ("Conv", {"pads": [1, 1, 1, 1], "strides": [2, 1]}, {"w": floats(8, 4, 3, 3), "b": floats(8)}, 17),
    ("Conv", {"group": 4, "dilations": [2, 1], "pads": [2, 0, 0, 1]}, {"w": floats(8, 1, 3, 2)}, 17),
    ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, {"w": floats(2, 4, 3, 4)}, 17),
    ("ConvTranspose", {"strides": [2, 2], "pads": [1, 0, 1, 0], "output_padding": [1, 0]}, {"w": floats(4, 3, 3, 3), "b": floats(3)}, 17),
    ("BatchNormalization", {"epsilon": 1e-3}, {"s": floats(4), "b": floats(4), "m": floats(4), "v": np.abs(floats(4)) + 0.1}, 17),
    ("InstanceNormalization", {}, {"s": floats(4), "b": floats(4)}, 17),
    ("LayerNormalization", {"axis": 2}, {"s": floats(6, 5), "b": floats(6, 5)}, 17),
    ("GroupNormalization", {"num_groups": 2}, {"s": floats(4), "b": floats(4)}, 21),
    ("MatMul", {}, {"w": floats(5, 7)}, 17),
    *(
        (
            "Resize",
            {"mode": mode, "coordinate_transformation_mode": rule},
            {"roi": np.array([], np.float32), "scales": np.array([1, 1, 1.7, 0.6], np.float32)},
            17,
        )
        for mode in ("nearest", "linear", "cubic")
        for rule in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    ),
]


@pytest.mark.parametrize("case", ONE_INPUT, ids=lambda case: f"{case[0]}-{case[3]}")
def test_operator_agrees_with_onnxruntime(case: Case) -> None:
    name, attributes, weights, opset = case
    node = helper.make_node(name, ["x", *weights], ["y"], **attributes)
    data = onnx_bytes([node], {"x": (["n", *X4.shape[1:]], F32)}, ["y"], weights, opset)
    model = check(data, {"x": X4}, 1e-4 if name in ("Resize", "ReduceProd") else 2e-5)
    assert model.program.fixed_batch is None


def test_gemm_and_matmul_add_meet_in_one_linear() -> None:
    w, b = floats(6, 3), floats(3)
    gemm = onnx_bytes([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], {"x": (["n", 6], F32)}, ["y"], {"w": w, "b": b})
    turned = onnx_bytes(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)], {"x": (["n", 6], F32)}, ["y"], {"w": w.T.copy(), "b": b}
    )
    nodes = [helper.make_node("MatMul", ["in", "kernel"], ["t"]), helper.make_node("Add", ["t", "bias"], ["out"])]
    added = onnx_bytes(nodes, {"in": (["n", 6], F32)}, ["out"], {"kernel": w, "bias": b.reshape(1, 3)})
    programs = [reader.read({"m.onnx": io.BytesIO(data)}).program for data in (gemm, turned, added)]
    assert [[op.name for op in program.ops] for program in programs] == [["linear"]] * 3
    assert len({program.ops[0].attributes is not None and tuple(w.key for w in program.weights) for program in programs}) == 1
    check(added, {"in": floats(4, 6)})


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_layers(op: str, direction: str) -> None:
    gates, ways, hidden = {"LSTM": 4, "GRU": 3, "RNN": 1}[op], 2 if direction == "bidirectional" else 1, 5
    weights = {"w": floats(ways, gates * hidden, 3), "r": floats(ways, gates * hidden, hidden), "b": floats(ways, 2 * gates * hidden)}
    extra = {"linear_before_reset": 1} if op == "GRU" else {}
    outputs = ["y", "h", "c"] if op == "LSTM" else ["y", "h"]
    node = helper.make_node(op, ["x", "w", "r", "b"], outputs, hidden_size=hidden, direction=direction, **extra)
    check(onnx_bytes([node], {"x": ([7, "n", 3], F32)}, outputs, weights), {"x": floats(7, 4, 3)})


def test_shape_arithmetic_leaves_no_trace() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["dims"], axis=0),
        helper.make_node("Reshape", ["x", "dims"], ["y"]),
    ]
    weights = {"zero": np.array(0, np.int64), "axes": ints(0), "rest": ints(-1)}
    model = check(onnx_bytes(nodes, {"x": (["n", 4, 6, 5], F32)}, ["y"], weights), {"x": X4})
    assert [(op.name, op.attributes["dims"]) for op in model.program.ops] == [("reshape", (0, 120))]


def test_a_frozen_batch_is_opened_and_proved() -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["t"]), helper.make_node("Gemm", ["t", "w"], ["y"])]
    data = onnx_bytes(nodes, {"x": ([1, 4, 6], F32)}, ["y"], {"shape": ints(1, 24), "w": floats(24, 3)})
    model = reader.read({"m.onnx": io.BytesIO(data)})
    assert model.program.fixed_batch is None and model.program.inputs[0].shape == (None, 4, 6)
    x = floats(5, 4, 6)
    rows = np.concatenate([reference(data, {"x": row[None]})["y"] for row in x])
    np.testing.assert_allclose(run(model.program, model.tensors, {"x": torch.from_numpy(x)})["y"].numpy(), rows, rtol=1e-5, atol=1e-5)


def test_a_batch_that_mixes_samples_stays_fixed() -> None:
    nodes = [helper.make_node("ReduceMean", ["x"], ["m"], axes=[0]), helper.make_node("Sub", ["x", "m"], ["y"])]
    model = reader.read({"m.onnx": io.BytesIO(onnx_bytes(nodes, {"x": ([4, 6], F32)}, ["y"]))})
    assert model.program.fixed_batch == 4


def test_external_data_is_read_only_from_the_uploaded_file() -> None:
    w = floats(6, 3)
    proto = onnx.load_model_from_string(
        onnx_bytes([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (["n", 6], F32)}, ["y"], {"w": w})
    )
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "m.data"), ("offset", "8"), ("length", str(w.nbytes))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    data = proto.SerializeToString()
    model = reader.read({"m.onnx": io.BytesIO(data), "m.data": io.BytesIO(b"\0" * 8 + w.tobytes())})
    assert torch.equal(next(iter(model.tensors.values())), torch.from_numpy(w.T.copy()))
    for files, says in (({}, "was not uploaded"), ({"m.data": io.BytesIO(w.tobytes())}, "outside its data file")):
        with pytest.raises(UnreadableModel, match=says):
            reader.read({"m.onnx": io.BytesIO(data), **files})


def test_linear_pipeline_of_onnx_ml() -> None:
    nodes = [
        helper.make_node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=[0.1, 0.2, 0.3], scale=[2.0, 1.0, 0.5]),
        helper.make_node("Normalizer", ["s"], ["t"], domain="ai.onnx.ml", norm="L2"),
        helper.make_node(
            "LinearClassifier", ["t"], ["label", "p"], domain="ai.onnx.ml", coefficients=floats(12).tolist(),
            intercepts=[0.1, 0.2, 0.3, 0.4],
            classlabels_ints=[3, 5, 7, 9], multi_class=1, post_transform="SOFTMAX",
        ),
    ]  # fmt: skip
    model = check(onnx_bytes(nodes, {"x": (["n", 3], F32)}, ["label", "p"], ml=True), {"x": floats(8, 3)})
    assert model.facts.labels == ("3", "5", "7", "9")


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"])
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("place", [0, 1])
def test_trees_with_two_classes_and_one_score(mode: str, positive: bool, place: int) -> None:
    weights = [0.9, 0.2, 0.6] if positive else [0.9, -0.8, -0.3]
    node = helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "p"], domain="ai.onnx.ml",
        nodes_treeids=[0] * 5, nodes_nodeids=[0, 1, 2, 3, 4],
        nodes_featureids=[0, 1, 0, 0, 0], nodes_values=[0.0, 0.5, 0.0, 0.0, 0.0], nodes_modes=[mode, mode, "LEAF", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 3, 0, 0, 0], nodes_falsenodeids=[2, 4, 0, 0, 0],
        class_treeids=[0] * 3, class_nodeids=[2, 3, 4], class_ids=[place] * 3,
        class_weights=weights, classlabels_int64s=[0, 1], post_transform="NONE",
    )  # fmt: skip
    x = np.array([[0.0, 0.5], [-1.0, 0.5], [-1.0, 2.0], [3.0, 0.0], [0.0, 9.0]], np.float32)
    check(onnx_bytes([node], {"x": (["n", 2], F32)}, ["label", "p"], ml=True), {"x": x})


def test_nodes_in_any_order() -> None:
    nodes = [helper.make_node("Relu", ["t"], ["y"]), helper.make_node("Neg", ["x"], ["t"])]
    model = reader.read({"m.onnx": io.BytesIO(onnx_bytes(nodes, {"x": (["n", 3], F32)}, ["y"]))})
    assert [op.name for op in model.program.ops] == ["neg", "relu"]
