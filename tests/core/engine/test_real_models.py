"""Models that people use: those of the demo catalog, and the ONNX files of the data folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from bench.formats import opened, random_samples
from gpuworker.core.door import detect
from gpuworker.core.engine.plan import Options
from gpuworker.core.errors import UserError
from gpuworker.core.formats import read_model
from gpuworker.core.program.execute import run_batched
from tests.core.engine.nets import Made
from tests.core.engine.planned import Bench
from tests.core.engine.running import assert_close, assert_equal

SEED = Path(__file__).parents[3] / "gpuworker" / "seed" / "files"
DATA = os.environ.get("MODELSHOP_DATA")
FILES = [
    *sorted(path for path in SEED.iterdir() if path.suffix in (".onnx", ".pt2")),
    *(sorted(Path(DATA).rglob("*.onnx")) if DATA else ()),
]
COUNT = 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_real_model_gives_what_the_loop_gives(path: Path) -> None:
    try:
        with opened(path) as files:
            model = read_model(detect(path.name, files[path.name], path.stat().st_size).key, files)
    except UserError as error:
        pytest.skip(error.title)
    made: Made = (model.program, dict(model.tensors))
    inputs = random_samples(model.program, COUNT)
    expected = [run_batched(model.program, model.tensors, inputs, COUNT)]
    half = any(weight.dtype in ("float16", "bfloat16") for weight in model.program.weights)
    plain = Bench([made], inputs, Options(layout="plain", chunk=COUNT))
    assert_equal([{name: value.nan_to_num(7) for name, value in row.items()} for row in plain.all_rows()],
                 [{name: value.nan_to_num(7) for name, value in row.items()} for row in expected])  # fmt: skip
    if not half:
        assert_close(Bench([made, made], inputs, Options(chunk=COUNT)).all_rows(), [*expected, *expected], rtol=1e-3, atol=1e-4)


def test_torch_never_leaves_inference_mode_on() -> None:
    assert not torch.is_inference_mode_enabled()
