"""The table of readers, the door, safetensors architectures, and that reading needs no file, socket or import."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from onnx import helper
from safetensors.torch import save
from torch import nn

from bench.formats import figures, run_bench
from gpuworker.core.door import detect
from gpuworker.core.errors import FormatRefused, UnreadableModel
from gpuworker.core.formats import READERS, read_model, safetensors
from gpuworker.core.formats.architectures import ARCHITECTURES
from gpuworker.core.program.execute import run
from gpuworker.core.specs import FORMATS
from tests.core.formats.build import onnx_bytes, pt2_bytes

ROOT = Path(__file__).resolve().parents[3]


def test_readers_are_exactly_the_accepted_formats() -> None:
    assert set(READERS) == {key for key, spec in FORMATS.items() if spec.accepted}


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
    return stream.getvalue()


def torch_saved() -> bytes:
    stream = io.BytesIO()
    torch.save(nn.Linear(2, 2).state_dict(), stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "label"),
    [
        ("model.onnx", pickle.dumps([1]), "Python pickle"),
        ("model.safetensors", pickle.dumps({"a": 1}, protocol=0).replace(b"(dp0", b"cos\nsystem\n(dp0"), "Python pickle"),
        ("model.pt2", torch_saved(), "torch.save file"),
        ("model.onnx", zipped("m/code/__torch__.py", "m/data.pkl"), "TorchScript"),
        ("model.zip", zipped("model.pkl"), "Python pickle"),
        ("model.joblib", b"\x78\x9c" + b"\0" * 50, "joblib"),
        ("model.onnx", b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "Keras"),
        ("model.onnx", b"\x1c\0\0\0TFL3" + b"\0" * 50, "TensorFlow Lite"),
    ],
)
def test_content_beats_the_name(name: str, data: bytes, label: str) -> None:
    with pytest.raises(FormatRefused, match=label) as caught:
        detect(name, io.BytesIO(data), len(data))
    assert caught.value.fix


@pytest.mark.parametrize("data", [b"", b"hello world, not a model", b"\x00" * 100, b"PK\x03\x04broken", zipped("readme.txt")])
def test_unknown_content_is_not_guessed(data: bytes) -> None:
    with pytest.raises(UnreadableModel):
        detect("model.onnx", io.BytesIO(data), len(data))


def test_accepted_files_pass_whatever_they_are_called() -> None:
    made = {
        "onnx": onnx_bytes([helper.make_node("Relu", ["x"], ["y"])], {"x": (["n", 3], torch.zeros(1).numpy().dtype)}, ["y"]),
        "pt2": pt2_bytes(nn.Linear(4, 2), torch.zeros(2, 4)),
        "safetensors": save({"a": torch.zeros(2)}),
    }
    for key, data in made.items():
        assert detect("anything.bin", io.BytesIO(data), len(data)).key == key
    assert detect("m.zip", io.BytesIO(zipped("m/model.safetensors", "m/config.json")), 300).key == "safetensors"


def test_the_door_loads_no_torch() -> None:
    code = "import sys, gpuworker.core.door; sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def files(tensors: dict[str, torch.Tensor], config: dict[str, object]) -> dict[str, io.BytesIO]:
    return {"m.safetensors": io.BytesIO(save(tensors)), "config.json": io.BytesIO(json.dumps(config).encode())}


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.position, self.head = nn.Embedding(40, 16), nn.Parameter(torch.randn(12, 16)), nn.Linear(16, 3)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.encoder(self.embedding(x) + self.position[: x.shape[1]], src_key_padding_mask=x == 0)
        real = (x != 0).unsqueeze(-1).float()
        return self.head((h * real).sum(1) / real.sum(1))


class Lenet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.conv1(x).relu(), 2)
        x = nn.functional.max_pool2d(self.conv2(x).relu(), 2).flatten(1)
        return self.fc3(self.fc2(self.fc1(x).relu()).relu())


MLP = {"architecture": "mlp", "inputs": 4, "hidden": [8], "classes": 3}


def test_transformer_and_lenet_agree_with_torch() -> None:
    torch.manual_seed(2)
    tokens = torch.randint(1, 40, (3, 9))
    tokens[1, 5:] = 0
    text = {
        "architecture": "transformer",
        "vocabulary": 40,
        "width": 16,
        "heads": 4,
        "layers": 2,
        "feed_forward": 32,
        "max_length": 12,
        "classes": 3,
    }
    image = {"architecture": "lenet", "in_channels": 1, "height": 28, "width": 28, "pad_first": True, "classes": 10}
    for module, config, x in ((Transformer().eval(), text, tokens), (Lenet(), image, torch.randn(2, 1, 28, 28))):
        model = safetensors.read(files(dict(module.state_dict()), config))
        with torch.no_grad():
            assert torch.allclose(run(model.program, model.tensors, {"input": x})["logits"], module(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        MLP,
        {"architecture": "cnn", "in_channels": 3, "height": 16, "width": 16, "channels": [8, 12], "classes": 4},
        {"architecture": "cnn1d", "in_channels": 6, "window": 32, "channels": [8, 12], "classes": 4, "kernel": 5},
        {"architecture": "resnet_cifar", "in_channels": 3, "height": 32, "width": 32, "blocks": 2, "classes": 10},
        {"architecture": "text_mean", "vocabulary": 50, "embedding_size": 8, "hidden": [6], "classes": 2},
    ],
    ids=lambda config: config["architecture"],
)
def test_architectures_say_what_they_want_and_then_run(config: dict[str, object]) -> None:
    with pytest.raises(UnreadableModel, match="missing, expected"):
        safetensors.read(files({}, config))
    wanted = safetensors.wanted_tensors(config)
    model = safetensors.read(files({name: torch.rand(shape) + 0.1 for name, shape in wanted.items()}, config))
    port = model.program.inputs[0]
    shape = [3, *(size or 7 for size in port.shape[1:])]
    x = torch.randn(shape) if port.dtype == "float32" else torch.randint(0, 50, shape)
    assert run(model.program, model.tensors, {"input": x})["logits"].shape == (3, config["classes"])
    assert config["architecture"] in ARCHITECTURES


def test_every_tensor_that_does_not_fit_is_named() -> None:
    tensors = {
        "layers.0.weight": torch.zeros(8, 5),
        "layers.0.bias": torch.zeros(8),
        "layers.1.weight": torch.zeros(3, 8),
        "spare": torch.zeros(1),
    }
    with pytest.raises(UnreadableModel) as caught:
        safetensors.read(files(tensors, MLP))
    assert (
        caught.value.detail
        == "layers.1.bias: missing, expected [3]; layers.0.weight: expected [8, 4], found [8, 5]; spare: unexpected, found [1]"
    )


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"architecture": "gpt"}, "no known architecture"),
        ({**MLP, "inputs": -1}, "inputs: expected an integer"),
        ({**MLP, "hidden": "many"}, "hidden: expected a list"),
        ({**MLP, "auto_map": "evil.py"}, "auto_map"),
    ],
)
def test_a_wrong_config_is_named(config: dict[str, object], says: str) -> None:
    with pytest.raises(UnreadableModel, match=says):
        safetensors.read(files({}, config))


def test_weights_alone_are_refused_with_the_reason() -> None:
    with pytest.raises(UnreadableModel, match="config.json"):
        read_model("safetensors", {"m.safetensors": io.BytesIO(save({"a": torch.zeros(1)}))})


WALLED = """
import io, sys
import torch
from onnx import helper
from gpuworker.core.formats import read_model, warm_up
from gpuworker.core.formats.batch import random_inputs
from gpuworker.core.program.execute import run_batched
files = {name: open(name, "rb") for name in sys.argv[1:]}
warm_up()
def wall(event, args):
    if event in ("open", "socket.connect", "subprocess.Popen", "os.system", "os.fork", "import", "ctypes.dlopen", "exec", "compile"):
        if event == "import" and args[0] in sys.modules: return
        raise SystemExit(f"{event} {args}"[:300])
sys.addaudithook(wall)
for name, stream in files.items():
    model = read_model(name.rsplit(".", 1)[-1], {name.rsplit("/", 1)[-1]: stream})
    run_batched(model.program, model.tensors, random_inputs(model.program, 3), 2)
"""


def test_reading_and_running_open_nothing_and_import_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_bytes(pt2_bytes(Lenet(), torch.zeros(2, 1, 28, 28)))
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"])]
    weight = torch.ones(3, 2).numpy()
    (tmp_path / "m.onnx").write_bytes(onnx_bytes(nodes, {"x": ([1, 3], weight.dtype)}, ["y"], {"w": weight}))
    names = [str(tmp_path / name) for name in ("m.pt2", "m.onnx")]
    done = subprocess.run([sys.executable, "-c", WALLED, *names], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]


def test_every_real_file_agrees_or_is_refused_rightly(data_dir: Path) -> None:
    folder = data_dir / "models"
    if not folder.is_dir():
        pytest.skip(f"no model files at {folder}")
    rows = run_bench(folder)
    assert not [row for row in rows if row.verdict == "wrong"]
    assert figures(rows)["formats.agree"] >= 31
