"""One sample of a set as a page shows it, read from the stored batch without loading the rest.

Layouts are those documented in `gpuworker.core.modalities`: a ragged array `a` has `a.offsets` (N + 1), every other
array has N as its first axis. The batch was written by our own worker, so nothing untrusted is decoded here.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open

from search.models import SampleSet

OFFSETS = ".offsets"
MAX_SIDE = 256
MAX_CHARS = 2_000
MAX_STEPS = 400
MAX_CELLS = 60


def items(sample_set: SampleSet, indexes: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Preview documents by index, as `Modality.preview` gives them; indexes outside the set and unreadable batches give none."""
    try:
        with safe_open(sample_set.batch_path, "np") as file:
            rows = _Rows(file)
            return {index: _item(rows, sample_set, index) for index in indexes if 0 <= index < sample_set.n}
    except (OSError, SafetensorError, KeyError, IndexError, ValueError):
        # The file may be gone (deleted meanwhile) or of an older layout: the page says "no preview" on its card.
        return {}


class _Rows:
    """Single rows of the arrays of one open batch."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.names = set(file.keys())
        self._offsets: dict[str, NDArray[np.int64]] = {}

    def row(self, name: str, index: int) -> NDArray[Any]:
        if name + OFFSETS not in self.names:
            return np.asarray(self.file.get_slice(name)[index : index + 1])[0]
        if name not in self._offsets:
            self._offsets[name] = self.file.get_tensor(name + OFFSETS)
        start, stop = (int(at) for at in self._offsets[name][index : index + 2])
        return np.asarray(self.file.get_slice(name)[start:stop])

    def text(self, name: str, index: int) -> str:
        return self.row(name, index).tobytes().decode("utf-8", "replace")


def _item(rows: _Rows, sample_set: SampleSet, index: int) -> dict[str, Any]:
    match sample_set.modality:
        case "image":
            return _image(rows, index)
        case "text":
            text = rows.text("text", index)
            return {"kind": "text", "text": text[:MAX_CHARS], "cut": len(text) > MAX_CHARS}
        case _:
            return {}


def _image(rows: _Rows, index: int) -> dict[str, Any]:
    height, width, channels = (int(side) for side in rows.row("shapes", index))
    pixels = rows.row("pixels", index).reshape(height, width, channels)
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    out = io.BytesIO()
    image.save(out, "PNG")
    source = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    return {"kind": "image", "src": source, "width": image.width, "height": image.height}


