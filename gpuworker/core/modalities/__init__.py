"""Kinds of samples: one module per kind, listed here under the keys of `specs.MODALITIES`."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from gpuworker.core.modalities import image, pair, series, table, text
from gpuworker.core.modalities.options import ReadOptions
from gpuworker.core.protocols import Modality, SampleBatch, SourceFile

MODALITY_IMPLEMENTATIONS: dict[str, Modality] = {"image": image, "text": text, "series": series, "table": table, "pair": pair}
# The raw numbers (N, ...) and the words of a batch, which the distribution measures are taken of.
VALUES: dict[str, Callable[[SampleBatch], NDArray[Any]]] = {"image": image.values, "series": series.values, "table": table.values}
WORDS: dict[str, Callable[[SampleBatch], list[list[str]]]] = {"text": text.words, "pair": pair.words}


def warm_up() -> None:
    """Load every decoder and run every module once, so that a sandboxed child opens no file and starts no thread later."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    Image.init()
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for kind, ending in (("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("BMP", "bmp"), ("TIFF", "tif")):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, kind)
        _exercise("image", [_source(f"warm.{ending}", out.getvalue())])
    columns = {
        "text": ["a warm cup of tea", "and a cold one"],
        "number": [1.0, 2.0],
        "left_name": ["a", "b"],
        "right_name": ["a", "c"],
        "label": ["x", "y"],
    }
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    sheet = out.getvalue()
    arrays = io.BytesIO()
    np.savez_compressed(arrays, x=np.zeros((2, 16, 3), np.float32), y=np.array([0, 1]), label_names=np.array(["x", "y"]))
    for key in ("text", "table", "pair"):
        _exercise(key, [_source("warm.parquet", sheet)])
        _exercise(key, [_source("warm.csv", b"text,number,left_name,right_name\nwarm,1,a,a\ncold,2,b,c\n")])
    _exercise("series", [_source("warm.npz", arrays.getvalue())])


def _exercise(key: str, files: list[SourceFile]) -> None:
    module = MODALITY_IMPLEMENTATIONS[key]
    batch = module.read(files, ReadOptions()).batch
    module.features(batch)
    module.preview(batch, 0)
    if key in VALUES:
        VALUES[key](batch)
    if key in WORDS:
        WORDS[key](batch)


def _source(name: str, data: bytes) -> SourceFile:
    return SourceFile(name, io.BytesIO(data), len(data))
