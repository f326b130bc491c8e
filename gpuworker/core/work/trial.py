"""A few made-up samples that fit an input spec, to try a model for which no reference sample was given."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpuworker.core.input_spec import InputSpec
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS
from gpuworker.core.modalities.options import parse_options
from gpuworker.core.protocols import SampleBatch, SourceFile

COUNT = 4
MadeUp = tuple[str, bytes, dict[str, Any]]  # file name, content, reading options
WORDS = ("good", "bad", "the", "price", "north", "blue", "seven", "runs")


def synthetic_batch(spec: InputSpec) -> SampleBatch:
    """COUNT random samples, read through the same reader as an upload. Deterministic."""
    name, content, options = _FILES[spec.modality](spec)
    file = SourceFile(name, io.BytesIO(content), len(content))
    return MODALITY_IMPLEMENTATIONS[spec.modality].read([file], parse_options(options)).batch


def _image(spec: InputSpec) -> MadeUp:
    size = (COUNT, spec.input["height"], spec.input["width"], 3)
    return "trial.npz", _npz(x=np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)), {}


def _series(spec: InputSpec) -> MadeUp:
    channels = list(spec.input["channels"])
    x = np.random.default_rng(0).normal(size=(COUNT, int(spec.input["window"]), len(channels))).astype(np.float32)
    rate = {"rate_hz": spec.input["rate_hz"]} if "rate_hz" in spec.input else {}
    return "trial.npz", _npz(x=x), {"layout": "NTC", "channel_names": channels, **rate}


def _text(spec: InputSpec) -> MadeUp:
    rng = np.random.default_rng(0)
    return "trial.txt", "\n".join(" ".join(rng.choice(WORDS, 6)) for _ in range(COUNT)).encode(), {}


def _table(spec: InputSpec) -> MadeUp:
    rng = np.random.default_rng(0)
    rows = [
        {
            column["name"]: str(rng.choice(column["categories"])) if column["kind"] == "category" else float(rng.normal())
            for column in spec.input["columns"]
        }
        for _ in range(COUNT)
    ]
    return "trial.jsonl", _jsonl(rows), {"columns": [column["name"] for column in spec.input["columns"]]}


def _pair(spec: InputSpec) -> MadeUp:
    rng = np.random.default_rng(0)
    names = spec.input.get("attributes") or ["name"]
    rows = [{f"{side}_{name}": " ".join(rng.choice(WORDS, 4)) for name in names for side in ("left", "right")} for _ in range(COUNT)]
    return "trial.jsonl", _jsonl(rows), {}


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _jsonl(rows: Sequence[Mapping[str, object]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


_FILES = {"image": _image, "series": _series, "text": _text, "table": _table, "pair": _pair}
