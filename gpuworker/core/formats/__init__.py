"""Strict readers, one per accepted file format: untrusted bytes to Program. Nothing is unpickled, compiled or imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from gpuworker.core.errors import FormatRefused
from gpuworker.core.formats import onnx, pt2, safetensors
from gpuworker.core.formats.archive import unpack_zip
from gpuworker.core.formats.facts import ModelFacts, ReadModel
from gpuworker.core.formats.warm import warm_up
from gpuworker.core.specs import FORMATS

__all__ = ["READERS", "ModelFacts", "ReadModel", "read_model", "unpack_zip", "warm_up"]

Reader = Callable[[Mapping[str, BinaryIO], Mapping[str, Any] | None], ReadModel]
READERS: dict[str, Reader] = {"onnx": onnx.read, "pt2": pt2.read, "safetensors": safetensors.read}
"""By `FormatSpec.key`: exactly the accepted formats."""


def read_model(format_key: str, files: Mapping[str, BinaryIO], config: Mapping[str, Any] | None = None) -> ReadModel:
    """Read a model from its open files, by flat name. A zip of the files of one model is unpacked in memory first.

    Raises a UserError: FormatRefused, UnreadableModel, UnsupportedOperator or LimitExceeded.
    """
    if format_key not in READERS:
        spec = FORMATS.get(format_key)
        raise FormatRefused(
            "The file is of a kind that is not opened.", detail=spec.why if spec else format_key[:60], fix=spec.instead if spec else ""
        )
    zipped = [name for name in files if name.lower().endswith(".zip")]
    if format_key != "pt2" and len(files) == 1 and zipped:
        files = unpack_zip(files[zipped[0]])
    return READERS[format_key](files, config)
