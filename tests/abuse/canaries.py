"""Files that run their author's code in a careless loader: that code makes a marker file, nothing more. Built by the tests."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper

Entries = dict[str, bytes]


class Marker:
    """Unpickling it makes the file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


def saved_by_torch(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def pickled(marker: Path) -> bytes:
    return pickle.dumps(Marker(marker))


def sound_pt2() -> bytes:
    """An archive as torch.export writes it, with an open batch size."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 3)).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    return buffer.getvalue()


def _sample_inputs(entries: Entries, marker: Path) -> None:
    entries["data/sample_inputs/model.pt"] = saved_by_torch(((Marker(marker),), {}))


def _pickled_weight(entries: Entries, marker: Path) -> None:
    name = "data/weights/model_weights_config.json"
    config = json.loads(entries[name])
    config["config"]["0.weight"]["use_pickle"] = True
    entries[name] = json.dumps(config).encode()
    entries["data/weights/weight_0"] = saved_by_torch(Marker(marker))


def _guards(entries: Entries, marker: Path) -> None:
    model = json.loads(entries["models/model.json"])
    model["guards_code"] = [f"open({str(marker)!r}, 'w') is not None"]
    entries["models/model.json"] = json.dumps(model).encode()


def _symbols(entries: Entries, marker: Path) -> None:
    model = json.loads(entries["models/model.json"])
    sizes = model["graph_module"]["graph"]["tensor_values"]["input"]["sizes"]
    sizes[0]["as_expr"]["expr_str"] = f"[open({str(marker)!r}, 'w'), {sizes[0]['as_expr']['expr_str']}][1]"
    entries["models/model.json"] = json.dumps(model).encode()


PT2_WAYS: Mapping[str, Callable[[Entries, Path], None]] = {
    "pickled sample inputs": _sample_inputs,
    "weight flagged as pickled": _pickled_weight,
    "guard code": _guards,
    "size expression": _symbols,
}


def hostile_pt2(way: str, marker: Path) -> bytes:
    with zipfile.ZipFile(io.BytesIO(sound_pt2())) as archive:
        root = archive.namelist()[0].split("/")[0]
        entries = {name.removeprefix(f"{root}/"): archive.read(name) for name in archive.namelist()}
    PT2_WAYS[way](entries, marker)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(f"{root}/{name}", data)
    return buffer.getvalue()


def onnx_with_outside_weight(location: str, length: int) -> bytes:
    """A model whose weight is said to lie in another file."""
    weight = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[length], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    nodes = [helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT), helper.make_node("Add", ["x", "f"], ["y"])]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", length]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [weight])
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())
