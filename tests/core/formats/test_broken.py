"""Broken and hostile model files: each is refused with its true reason, and nothing of it runs."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from gpuworker.core.errors import FormatRefused, LimitExceeded, UnreadableModel, UnsupportedOperator, UserError
from gpuworker.core.formats import onnx as onnx_reader
from gpuworker.core.formats import pt2, read_model, unpack_zip
from gpuworker.core.formats.symbols import names_in
from tests.core.formats.build import edited, onnx_bytes, pt2_bytes

F32 = np.dtype(np.float32)
X = {"x": (["n", 4], F32)}


def read(data: bytes) -> None:
    onnx_reader.read({"m.onnx": io.BytesIO(data)})


def relu(*names: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Relu", [a], [b]) for a, b in zip(names, names[1:], strict=False)]


def test_every_unsupported_operator_is_named_at_once() -> None:
    inner = helper.make_graph([helper.make_node("NonZero", ["x"], ["i"])], "inner", [], [onnx.ValueInfoProto(name="i")])
    nodes = [
        helper.make_node("If", ["c"], ["a"], then_branch=inner, else_branch=inner),
        helper.make_node("Strange", ["x"], ["b"], domain="com.example"),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    with pytest.raises(UnsupportedOperator) as caught:
        read(onnx_bytes(nodes, X, ["y"]))
    assert caught.value.detail == "If, NonZero, com.example::Strange"


@pytest.mark.parametrize(
    ("nodes", "outputs", "says"),
    [
        (relu("a", "b") + relu("b", "a"), ["a"], "depends on itself"),
        (relu("missing", "y"), ["y"], "nothing makes it"),
        (relu("x", "y"), ["z"], "never made"),
        (relu("x", "y") + relu("x", "y"), ["y"], "made twice"),
    ],
)
def test_malformed_graphs(nodes: list[onnx.NodeProto], outputs: list[str], says: str) -> None:
    with pytest.raises(UnreadableModel, match=says):
        read(onnx_bytes(nodes, X, outputs))


def test_any_truncation_is_refused() -> None:
    data = onnx_bytes([helper.make_node("MatMul", ["x", "w"], ["y"])], X, ["y"], {"w": np.ones((4, 300), np.float32)})
    for end in (0, 1, 10, len(data) // 2, len(data) - 3):
        with pytest.raises(UserError):
            read(data[:end])


def test_a_tensor_that_lies_about_its_size() -> None:
    proto = onnx.load_model_from_string(
        onnx_bytes([helper.make_node("MatMul", ["x", "w"], ["y"])], X, ["y"], {"w": np.ones((4, 3), np.float32)})
    )
    proto.graph.initializer[0].dims[0] = 4_000
    with pytest.raises(UnreadableModel, match="needs 48000 bytes, found 48"):
        read(proto.SerializeToString())
    proto.graph.initializer[0].dims[0] = 1 << 40
    with pytest.raises(LimitExceeded, match="too large"):
        read(proto.SerializeToString())


def test_a_small_file_that_asks_for_a_huge_constant() -> None:
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])]
    with pytest.raises(LimitExceeded):
        read(onnx_bytes(nodes, X, ["y"], {"s": np.array([1 << 20, 1 << 20], np.int64)}))


def test_a_loop_of_tree_nodes_ends() -> None:
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", nodes_treeids=[0] * 3, 
        nodes_nodeids=[0, 1, 2], nodes_featureids=[0] * 3,
        nodes_values=[0.0] * 3, nodes_modes=["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 2, 0],
        target_treeids=[0], target_nodeids=[2], target_ids=[0], target_weights=[1.0], n_targets=1,
    )  # fmt: skip
    with pytest.raises(UnreadableModel, match="no root"):
        read(onnx_bytes([node], X, ["y"], ml=True))


def test_refused_formats_say_why() -> None:
    with pytest.raises(FormatRefused, match="pickle"):
        read_model("pickle", {"m.pkl": io.BytesIO(b"")})


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


@pytest.fixture(scope="module")
def sound() -> bytes:
    return pt2_bytes(Net(), torch.randn(2, 4))


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("(_ for _ in ()).throw(SystemExit('the pickle ran'))",)


def with_json(data: bytes, ending: str, change: object) -> io.BytesIO:
    def edit(name: str, content: bytes) -> bytes:
        if not name.endswith(ending):
            return content
        document = json.loads(content)
        change(document)  # type: ignore[operator]
        return json.dumps(document).encode()

    return edited(data, edit)


def test_pickled_sample_inputs_are_never_touched(sound: bytes) -> None:
    bomb = pickle.dumps(Bomb())
    hostile = edited(sound, lambda name, content: bomb if "sample_inputs" in name else content)
    assert [op.name for op in pt2.read({"m.pt2": hostile}).program.ops] == ["linear"]


def test_guard_code_and_symbols_are_never_evaluated(sound: bytes) -> None:
    def guards(document: dict[str, object]) -> None:
        document["guards_code"] = ["exit(1)"]

    assert pt2.read({"m.pt2": with_json(sound, "model.json", guards)}).program.ops

    def symbol(document: dict[str, dict[str, dict[str, dict[str, object]]]]) -> None:
        document["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0] = {"as_expr": {"expr_str": "__import__('os')._exit(1)"}}  # type: ignore[index]

    with pytest.raises(UnreadableModel, match="size expression"):
        pt2.read({"m.pt2": with_json(sound, "model.json", symbol)})


def test_a_pickled_weight_is_refused(sound: bytes) -> None:
    def flag(document: dict[str, dict[str, dict[str, object]]]) -> None:
        document["config"]["layer.weight"]["use_pickle"] = True

    with pytest.raises(FormatRefused, match="use_pickle"):
        pt2.read({"m.pt2": with_json(sound, "weights_config.json", flag)})


@pytest.mark.parametrize(
    "target", ["torch.ops.aten.from_file.default", "torch.ops.aten.save.default", "os.system", "torch.ops.aten._foobar.default"]
)
def test_operators_outside_the_allow_list_are_named(sound: bytes, target: str) -> None:
    def change(document: dict[str, dict[str, dict[str, list[dict[str, object]]]]]) -> None:
        document["graph_module"]["graph"]["nodes"][0]["target"] = target

    with pytest.raises(UnsupportedOperator, match=target.removeprefix("torch.ops.")):
        pt2.read({"m.pt2": with_json(sound, "model.json", change)})


def test_a_weight_view_outside_its_bytes(sound: bytes) -> None:
    for key, value in (
        ("sizes", [{"as_int": 3}, {"as_int": 400}]),
        ("storage_offset", {"as_int": 5}),
        ("strides", [{"as_int": 1 << 40}, {"as_int": 1}]),
    ):

        def change(document: dict[str, dict[str, dict[str, dict[str, object]]]], key: str = key, value: object = value) -> None:
            document["config"]["layer.weight"]["tensor_meta"][key] = value

        with pytest.raises(UnreadableModel, match="elements"):
            pt2.read({"m.pt2": with_json(sound, "weights_config.json", change)})


def test_missing_weights_and_compressed_or_escaping_entries(sound: bytes) -> None:
    with pytest.raises(UnreadableModel, match="missing"):
        pt2.read({"m.pt2": edited(sound, lambda name, content: None if "weight_0" in name else content)})
    with pytest.raises(UnreadableModel, match="compressed"):
        pt2.read({"m.pt2": edited(sound, lambda name, content: content, zipfile.ZIP_DEFLATED)})
    with pytest.raises(UnreadableModel, match="outside itself"):
        pt2.read({"m.pt2": edited(sound, lambda name, content: content, extra={"archive/../../x": b""})})


def test_any_cut_of_an_archive_is_refused(sound: bytes) -> None:
    for end in (0, 4, 100, len(sound) // 2, len(sound) - 5):
        with pytest.raises(UserError):
            pt2.read({"m.pt2": io.BytesIO(sound[:end])})


@pytest.mark.parametrize("text", ["", "1 +", "a.b", "f(x)", "x**y", "(" * 200, "Symbol('a', evil=True)", "x" * 501, "lambda: 0"])
def test_size_expressions_outside_the_grammar(text: str) -> None:
    with pytest.raises(ValueError, match="size expression"):
        names_in(text)


def test_size_expressions() -> None:
    assert names_in("Symbol('s77', positive=True, integer=True)") == {"s77"}
    assert names_in("2*s0 + s1//(4 - 1)") == {"s0", "s1"}
    assert names_in("Mul(Integer(2), Symbol('s0', integer=True))") == {"s0"}


def test_a_zip_bomb_is_not_unpacked() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", b"\0" * (64 << 20))
    with pytest.raises(LimitExceeded, match="far more"):
        unpack_zip(stream)
