"""Files and specs that the tests of the modalities are made of."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from gpuworker.core import input_spec
from gpuworker.core.protocols import SourceFile

ROOT = Path(__file__).resolve().parents[3]


def source(name: str, data: bytes | str) -> SourceFile:
    raw = data.encode() if isinstance(data, str) else data
    return SourceFile(name, io.BytesIO(raw), len(raw))


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def parquet(columns: dict[str, Any], metadata: dict[str, str] | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), out, **options)
    return out.getvalue()


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6), seed: int = 0, mode: str = "RGB", **save: Any) -> bytes:
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **save)
    return out.getvalue()


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def spec_input(modality: str, **fields: Any) -> dict[str, Any]:
    """A parsed input spec, with defaults filled in."""
    document = {"modality": modality, "input": fields, "output": {"kind": "logits"}, "labels": ["a", "b"]}
    return dict(input_spec.parse(document).input)


def real(path: str) -> SourceFile:
    """A file of the real data; skips the test where it is absent."""
    folder = Path(os.environ.get("MODELSHOP_DATA", ROOT.parent / "shared" / "data"))
    file = folder / path
    if not file.exists():
        pytest.skip(f"no real data at {file}: set MODELSHOP_DATA")
    return source(path, file.read_bytes())


def reasons(result: Any) -> list[tuple[str, int | None, str]]:
    return [(item.name, item.row, item.reason) for item in result.problems]
