"""Everything the jobs' libraries load late, loaded early: a locked child can open no file."""

from __future__ import annotations

import codecs
import zoneinfo

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.shape_inference
import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
import safetensors.numpy
import safetensors.torch
import tokenizers
import torch
from PIL import Image

from gpuworker.core.allocator import keep_pages

_ENCODINGS = ("utf-8", "utf-8-sig", "ascii", "latin-1", "cp1252", "cp437", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "idna", "punycode")


def warm() -> list[str]:
    """Load the late parts with one thread, so that no pool exists when a child is forked. Returns what was warmed."""
    keep_pages()
    torch.set_num_threads(1)
    pyarrow.set_cpu_count(1)
    for name in _ENCODINGS:
        codecs.lookup(name)
    zoneinfo.ZoneInfo("UTC")
    Image.init()
    with torch.inference_mode():
        torch.nn.functional.conv2d(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 3, 3)).softmax(-1)
        torch.zeros(4, 4) @ torch.zeros(4, 4)
    np.linalg.svd(np.eye(2))
    modules = (onnx, onnx.numpy_helper, onnx.shape_inference, pyarrow.compute, pyarrow.csv, pyarrow.json, pyarrow.parquet)
    return [module.__name__ for module in (*modules, safetensors.numpy, safetensors.torch, tokenizers)]
