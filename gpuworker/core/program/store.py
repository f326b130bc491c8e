"""The tensor store: immutable pack files in safetensors layout, addressed by tensor content.

Which tensor stands in which pack is the caller's table (`StoredTensor` rows); the store itself only writes, opens and maps.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from gpuworker.core.errors import UnreadableModel
from gpuworker.core.program.keys import content_key, tensor_bytes
from gpuworker.core.program.ops.kind import DTYPE_NAMES, DTYPES

_ALIGN = 64
_PACK = re.compile(r"[0-9a-f]{64}")
_LAYOUT_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where one tensor stands. offset: bytes from the start of the pack file to its first byte."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    pack: str
    offset: int


class TensorStore:
    """Packs under `root`/packs. Every write is complete or absent: temporary name, fsync, atomic rename."""

    def __init__(self, root: Path) -> None:
        self._packs = Path(root) / "packs"

    def write_pack(self, tensors: Mapping[str, torch.Tensor | np.ndarray]) -> list[StoredTensor]:
        """Write tensors, given by content key, as one pack. Raises ValueError when a key is not the content's. Empty: no pack."""
        if not tensors:
            return []
        ready = {key: _as_tensor(tensor) for key, tensor in sorted(tensors.items())}
        for key, tensor in ready.items():
            if content_key(tensor) != key:
                raise ValueError(f"The key {key} is not the content of its tensor.")
        pack = hashlib.sha256("\n".join(ready).encode()).hexdigest()
        header, offsets = _header(ready)
        self._packs.mkdir(parents=True, exist_ok=True)
        target = self._packs / f"{pack}.safetensors"
        if not target.exists():
            self._write(target, header, ready, offsets)
        return [
            StoredTensor(
                key,
                DTYPE_NAMES[tensor.dtype],
                tuple(tensor.shape),
                tensor.numel() * tensor.element_size(),
                pack,
                len(header) + offsets[key],
            )
            for key, tensor in ready.items()
        ]

    def _write(self, target: Path, header: bytes, tensors: Mapping[str, torch.Tensor], offsets: Mapping[str, int]) -> None:
        handle, temporary = tempfile.mkstemp(dir=self._packs, prefix=".writing-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(header)
                for key, tensor in tensors.items():
                    stream.write(b"\0" * (len(header) + offsets[key] - stream.tell()))
                    stream.write(tensor_bytes(tensor))
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o444)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        folder = os.open(self._packs, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def path(self, pack: str) -> Path:
        if _PACK.fullmatch(pack) is None:
            raise ValueError("A pack is named by 64 hexadecimal digits.")
        return self._packs / f"{pack}.safetensors"

    def open_pack(self, pack: str) -> BinaryIO:
        """Read-only; its descriptor can be handed to another process."""
        return self.path(pack).open("rb")

    def delete_pack(self, pack: str) -> None:
        """Remove a pack nobody refers to any more. Processes that have it mapped keep their view."""
        self.path(pack).unlink(missing_ok=True)


def load(places: Iterable[StoredTensor], files: Mapping[str, BinaryIO]) -> dict[str, torch.Tensor]:
    """Tensors by content key, mapped from open pack files (by pack name) without copying. Read-only: never write into them.

    Raises UnreadableModel when a place does not lie inside its pack.
    """
    maps: dict[str, mmap.mmap] = {}
    loaded: dict[str, torch.Tensor] = {}
    for place in places:
        if place.pack not in maps:
            # A private mapping is writable for torch's sake; pages stay shared until written, and nothing reaches the file.
            maps[place.pack] = mmap.mmap(files[place.pack].fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        loaded[place.key] = _view(maps[place.pack], place)
    return loaded


def _view(mapped: mmap.mmap, place: StoredTensor) -> torch.Tensor:
    dtype = DTYPES[place.dtype]
    count = int(np.prod(place.shape, dtype=np.int64))
    if count * dtype.itemsize != place.nbytes or place.offset < 0 or place.offset + place.nbytes > len(mapped):
        raise UnreadableModel(
            "A stored tensor does not fit its pack.", detail=f"{place.key} in {place.pack}", fix="Upload the model again."
        )
    if count == 0:
        return torch.empty(place.shape, dtype=dtype)
    return torch.frombuffer(mapped, dtype=dtype, count=count, offset=place.offset).reshape(place.shape)


def _as_tensor(value: torch.Tensor | np.ndarray) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape))


def _header(tensors: Mapping[str, torch.Tensor]) -> tuple[bytes, dict[str, int]]:
    """The safetensors header and each tensor's offset after it. Fillers keep the layout free of holes and aligned."""
    entries: dict[str, object] = {}
    offsets: dict[str, int] = {}
    end = 0
    for number, (key, tensor) in enumerate(tensors.items()):
        gap = -end % _ALIGN
        if gap:
            entries[f".gap{number}"] = {"dtype": "U8", "shape": [gap], "data_offsets": [end, end + gap]}
        start = end + gap
        end = start + tensor.numel() * tensor.element_size()
        offsets[key] = start
        entries[key] = {"dtype": _LAYOUT_NAMES[DTYPE_NAMES[tensor.dtype]], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGN)
    return len(text).to_bytes(8, "little") + text, offsets
