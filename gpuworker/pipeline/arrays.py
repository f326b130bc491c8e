"""Small named arrays as bytes in a row: safetensors, so that nothing needs unpickling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import safetensors.numpy
from numpy.typing import NDArray


def dump_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    return bytes(safetensors.numpy.save(dict(arrays)))


def load_arrays(buffer: bytes | memoryview | None) -> dict[str, NDArray[Any]]:
    return dict(safetensors.numpy.load(bytes(buffer))) if buffer else {}
