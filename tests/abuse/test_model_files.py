"""Hostile model files on the whole path: refused at the door or by the reader, with the cause and a way out; nothing of them runs."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from pytest_django.fixtures import Settings

from accounts.models import User
from catalog.models import VersionState
from gpuworker.core.errors import UnreadableModel
from tests.abuse import models
from tests.abuse.canaries import PT2_WAYS, Marker, hostile_pt2, onnx_with_outside_weight, pickled, saved_by_torch
from tests.abuse.models import changed, changed_json, changed_pt2, safetensors_of
from tests.abuse.stage import GROWTH, Stage, resident, told
from tests.catalog.makers import SIDE, image_spec
from tests.conftest import client_for
from tests.uploads.tusclient import Tus
from uploads.models import Upload

pytestmark = pytest.mark.django_db(transaction=True)


def zipped(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


def torchscript(marker: Path) -> bytes:
    return zipped(
        **{"archive__data.pkl": pickled(marker), "archive__code____torch__.py": b"def forward(): open('x')", "archive__version": b"3"}
    )


REFUSED: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    "pickle": ("model.pkl", pickled, "torch.onnx.export"),
    "pickle, oldest protocol": ("model.pkl", lambda marker: pickle.dumps(Marker(marker), protocol=0), "torch.onnx.export"),
    "pickle called onnx": ("model.onnx", pickled, "torch.onnx.export"),
    "pickle called pt2": ("model.pt2", pickled, "torch.onnx.export"),
    "pickle called safetensors": ("model.safetensors", pickled, "torch.onnx.export"),
    "torch.save": ("model.pt", lambda marker: saved_by_torch(Marker(marker)), "torch.onnx.export"),
    "torch.save called onnx": ("model.onnx", lambda marker: saved_by_torch(Marker(marker)), "torch.onnx.export"),
    "torch.save, old form": (
        "model.pth",
        lambda marker: (b := io.BytesIO(), torch.save(Marker(marker), b, _use_new_zipfile_serialization=False))[0].getvalue(),
        "torch.onnx.export",
    ),
    "joblib": ("model.joblib", pickled, "skl2onnx"),
    "joblib, zlib": ("model.joblib", lambda marker: zlib.compress(pickled(marker), 3), "skl2onnx"),
    "joblib, gzip": ("model.pkl", lambda marker: gzip.compress(pickled(marker)), "skl2onnx"),
    "joblib, bz2": ("model.joblib", lambda marker: bz2.compress(pickled(marker)), "skl2onnx"),
    "joblib, xz": ("model.joblib", lambda marker: lzma.compress(pickled(marker)), "skl2onnx"),
    "TorchScript": ("model.ts", torchscript, "torch.onnx.export"),
    "TorchScript called pt2": ("model.pt2", torchscript, "torch.onnx.export"),
    "Keras h5": ("model.h5", lambda marker: b"\x89HDF\r\n\x1a\n" + pickled(marker) * 20, "tf2onnx"),
    "Keras h5 called onnx": ("model.onnx", lambda marker: b"\x89HDF\r\n\x1a\n" + bytes(200), "tf2onnx"),
    "Keras": ("model.keras", lambda marker: zipped(**{"config.json": b"{}", "model.weights.h5": pickled(marker)}), "tf2onnx"),
    "TensorFlow Lite": ("model.tflite", lambda marker: b"\x1c\0\0\0TFL3" + bytes(200), "tf2onnx"),
    "zip around a pickle": ("model.zip", lambda marker: zipped(**{"model__weights.pkl": pickled(marker)}), "torch.onnx.export"),
    "zip around a zip": ("model.zip", lambda marker: zipped(**{"model.zip": zipped(**{"m.onnx": b"x"})}), "torch.onnx.export"),
    "text": ("model.onnx", lambda marker: b"import os; os.system('touch x')\n", "torch.onnx.export"),
}  # fmt: skip


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A place where anybody may make a file: if one is there afterwards, a file of ours ran."""
    folder = tmp_path / "marks"
    folder.mkdir()
    folder.chmod(0o777)
    return folder / "ran"


def test_formats_that_can_run_code_are_refused_at_the_door(stage: Stage, alice: User, marker: Path) -> None:
    tus = Tus(client_for(alice))
    wrong = {}
    for way, (name, build, instead) in REFUSED.items():
        data = build(marker)
        url = tus.created(len(data), name, "model")
        response = tus.patch(url, 0, data)
        body = response.json() if response.status_code == 422 else {"found": response.status_code}
        right = body.get("title") and name in body["detail"] and instead in body["fix"] and tus.head(url).status_code == 404
        if not right or response["Content-Type"] != "application/problem+json":
            wrong[way] = body
    assert wrong == {}
    assert not Upload.objects.exists() and not marker.exists()
    stage.goes_on()


def test_an_empty_file_is_refused_when_it_is_to_be_published(stage: Stage) -> None:
    with pytest.raises(UnreadableModel, match="empty"):
        stage.publish(b"")


@pytest.mark.parametrize("way", PT2_WAYS)
def test_code_inside_an_accepted_archive_never_runs(stage: Stage, marker: Path, way: str) -> None:
    spec = image_spec(input={"height": 2, "width": 2, "channels": 1, "layout": "flat"})
    version = stage.publish({"model.pt2": hostile_pt2(way, marker)}, spec)
    assert not marker.exists()
    if way in ("pickled sample inputs", "guard code"):
        assert version.state == VersionState.READY, told(version)
    else:
        assert version.state == VersionState.REJECTED and "torch.export.save" in version.error_fix, told(version)
    stage.goes_on()


def _huge_dims(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]


def _long_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "A" * 1_000_000


def _nul_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Bad\0Op\u202e"


def _strange_operators(model: onnx.ModelProto) -> None:
    for name in ("Strange", "Odd", "Peculiar"):
        model.graph.node.append(helper.make_node(name, ["x"], [name], domain="com.example"))


def _loop(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["b"], ["a"]))
    model.graph.node.append(helper.make_node("Relu", ["a"], ["b"]))


def _long_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "i" * 300
    model.graph.output[0].name = model.graph.node[0].output[0] = "o" * 1_000_000


def _huge_constant(model: onnx.ModelProto) -> None:
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [1 << 20, 1 << 20])
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["s"], ["c"]))
    model.graph.node[0].input[0] = "z"
    model.graph.node.insert(0, helper.make_node("Add", ["x", "c"], ["z"]))


def _deep_json(entries: dict[str, bytes], root: str) -> None:
    entries[f"{root}/models/model.json"] = b'{"schema_version": {"major": 8}, "graph_module": ' + b"[" * 100_000


def _huge_view(entries: dict[str, bytes], root: str) -> None:
    def change(document: Any) -> None:
        document["config"]["0.weight"]["tensor_meta"]["sizes"] = [{"as_int": 1 << 20}, {"as_int": 1 << 20}]

    changed_json(entries, f"{root}/data/weights/model_weights_config.json", change)


def _strange_targets(entries: dict[str, bytes], root: str) -> None:
    def change(document: Any) -> None:
        nodes = document["graph_module"]["graph"]["nodes"]
        nodes[0]["target"] = "os.system"
        nodes += [json.loads(json.dumps(nodes[0])) | {"target": "torch.ops.evil.run.default"}]

    changed_json(entries, f"{root}/models/model.json", change)


def _many_targets(entries: dict[str, bytes], root: str) -> None:
    def change(document: Any) -> None:
        document["graph_module"]["graph"]["nodes"] *= 30_000

    changed_json(entries, f"{root}/models/model.json", change)


def _escape(entries: dict[str, bytes], root: str) -> None:
    entries[f"{root}/../../../tmp/out"] = b"x"


def _absolute(entries: dict[str, bytes], root: str) -> None:
    entries[f"{root}/data/weights/weight_0"] = entries.pop(f"{root}/data/weights/weight_0")
    entries["/etc/passwd"] = b"x"


ONNX = "model.onnx"
BAD_FILES: dict[str, tuple[dict[str, Callable[[], bytes]], str]] = {
    "tensor of 2**40 elements": ({ONNX: lambda: changed(_huge_dims)}, "too large"),
    "constant of 2**40 elements": ({ONNX: lambda: changed(_huge_constant)}, "too large"),
    "a million nodes": ({ONNX: lambda: models.many_nodes(10**6)}, "Found 1000000, at most 20000"),
    "graphs 11 deep": ({ONNX: lambda: models.nested(11)}, "nests graphs too deeply"),
    "graphs 400 deep": ({ONNX: lambda: models.nested(400)}, "not a readable ONNX model"),
    "a loop": ({ONNX: lambda: changed(_loop)}, "depends on itself"),
    "several unknown operators": (
        {ONNX: lambda: changed(_strange_operators)}, "com.example::Odd, com.example::Peculiar, com.example::Strange"
    ),
    "an operator name of a megabyte": ({ONNX: lambda: changed(_long_operator)}, "too long"),
    "an output name of a megabyte": ({ONNX: lambda: changed(_long_input)}, "name"),
    "an operator name with NUL": ({ONNX: lambda: changed(_nul_operator)}, "Op"),
    "weights outside": ({ONNX: lambda: onnx_with_outside_weight("/etc/passwd", 16)}, "another file that was not uploaded"),
    "weights above": ({ONNX: lambda: onnx_with_outside_weight("../../secret", 16)}, "another file that was not uploaded"),
    "compressed pt2": ({"m.pt2": lambda: changed_pt2(lambda entries, root: None, zipfile.ZIP_DEFLATED)}, "compressed entry"),
    "pt2 with a path that climbs": ({"m.pt2": lambda: changed_pt2(_escape)}, "outside itself"),
    "pt2 with an absolute path": ({"m.pt2": lambda: changed_pt2(_absolute)}, "outside itself"),
    "pt2 nested 100,000 deep": ({"m.pt2": lambda: changed_pt2(_deep_json)}, "recursion"),
    "pt2 with 2**40 elements": ({"m.pt2": lambda: changed_pt2(_huge_view)}, "sizes"),
    "pt2 with foreign operators": ({"m.pt2": lambda: changed_pt2(_strange_targets)}, "evil.run.default, os.system"),
    "pt2 with 30,000 nodes": ({"m.pt2": lambda: changed_pt2(_many_targets)}, "too many nodes"),
    "safetensors without a config": (
        {"m.safetensors": lambda: safetensors_of({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4))}, "config.json"
    ),
}  # fmt: skip
CONFIG = json.dumps({"architecture": "mlp", "inputs": SIDE * SIDE, "hidden": [4], "classes": 3}).encode()
LYING = {
    "overlapping": safetensors_of({n: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in "ab"}, bytes(16)),
    "beyond its end": safetensors_of({"a": {"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, 1 << 42]}}, bytes(16)),
    "of another size": safetensors_of({"a": {"dtype": "F32", "shape": [100], "data_offsets": [0, 16]}}, bytes(16)),
    "header cut": safetensors_of(b'{"a": {"dtype"', bytes(16)),
    "nested": safetensors_of(b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", bytes(16)),
}
BAD_FILES |= {
    f"safetensors {way}": ({"m.safetensors": lambda data=data: data, "config.json": lambda: CONFIG}, "safetensors")  # type: ignore[misc]
    for way, data in LYING.items()
}
BAD_FILES |= {
    "config that is no JSON": ({"m.safetensors": lambda: LYING["overlapping"], "config.json": lambda: b"{'a': open('x')}"}, "not JSON"),
    "config of remote code": (
        {
            "m.safetensors": lambda: LYING["overlapping"],
            "config.json": lambda: b'{"architecture": "evil.module:run", "trust_remote_code": true}',
        },
        "names no known architecture",
    ),
    "zip bomb": ({"m.zip": lambda: zipped(**{"m.safetensors": bytes(64 << 20), "config.json": CONFIG})}, "unpacks to far more"),
    "zip with a path that climbs": ({"m.zip": lambda: zipped(**{"..__..__m.safetensors": bytes(8)})}, "outside itself"),
}  # fmt: skip


def test_readers_refuse_what_lies_or_swells(stage: Stage) -> None:
    stage.goes_on()
    before = resident()
    wrong = {}
    for way, (files, says) in BAD_FILES.items():
        version = stage.publish({name: build() for name, build in files.items()})
        text = told(version)
        clear = says in text and version.error_fix and "on our side" not in text and len(text) < 5_000
        if version.state != VersionState.REJECTED or not clear:
            wrong[way] = text[:300]
    assert wrong == {}
    assert resident() - before < GROWTH
    stage.goes_on()


@pytest.mark.slow
def test_a_model_of_the_most_operators_is_published(stage: Stage) -> None:
    """The caps of the parts fit together: what the reader accepts can be stored, sent and run."""
    nodes = [helper.make_node("Sin" if i % 2 else "Cos", [f"a{i}" if i else "x"], [f"a{i + 1}"]) for i in range(19_000)]
    tail, weights = models.head("a19000")
    version = stage.publish(models.onnx_of([*nodes, *tail], weights))
    assert version.state == VersionState.READY, told(version)


def test_texts_that_a_database_cannot_hold_are_stored_without_them(stage: Stage) -> None:
    """NUL is refused by PostgreSQL, in texts and in JSON: a model's own names must not break its check."""

    def change(model: onnx.ModelProto) -> None:
        model.producer_name = "made\0by" * 1_000
        model.graph.input[0].name = model.graph.node[0].input[0] = "x\0<script>"

    version = stage.publish(changed(change))
    assert version.state == VersionState.READY, told(version)
    assert version.program is not None and version.program["inputs"][0]["name"] == "x\ufffd<script>"
    assert "\0" not in version.facts["producer"] and len(version.facts["producer"]) < 500
    page = client_for(stage.owner).get(version.model.get_absolute_url()).content.decode()
    assert "<script>" not in page.replace("<script src", "").replace("<script type", "") or "x\ufffd<script>" not in page


def test_tiny_limits_refuse_a_model_that_needs_more(stage: Stage, settings: Settings) -> None:
    settings.SANDBOX_MEMORY_MB = 64
    version = stage.publish(models.onnx_of(*_wide_weights()))
    assert version.state == VersionState.REJECTED and "memory limit" in told(version), told(version)
    settings.SANDBOX_MEMORY_MB = 1024
    stage.goes_on()


def _wide_weights() -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    nodes, weights = models.head("h", 1 << 19)
    return [helper.make_node("MatMul", ["x", "w"], ["h"]), *nodes], weights | {"w": np.ones((SIDE * SIDE, 1 << 19), np.float32)}
