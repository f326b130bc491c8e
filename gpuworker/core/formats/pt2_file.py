"""The torch.export archive as data: JSON graph and raw tensor bytes. Pickled parts are never opened."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from gpuworker.core.errors import FormatRefused, LimitExceeded, UnreadableModel
from gpuworker.core.formats.archive import open_archive, read_entry
from gpuworker.core.formats.symbols import names_in
from gpuworker.core.program.model import MAX_NAME, MAX_OPS, MAX_RANK, MAX_WEIGHTS

MAX_JSON = 64 << 20
MAX_TENSOR_BYTES = 2 << 30
SCHEMA_MAJOR = 8
DTYPE_OF_CODE: dict[int, torch.dtype] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
_AGAIN = "Save it again with torch.export.save(torch.export.export(model.eval(), args), 'model.pt2') from torch 2.9 or later."


def broken(detail: str) -> UnreadableModel:
    return UnreadableModel("The archive is not a readable torch.export model.", detail=detail[:300], fix=_AGAIN)


@dataclass(frozen=True, slots=True)
class Exported:
    """graph and signature as JSON objects; tensors by "weights/<name>" or "constants/<name>"."""

    graph: Mapping[str, Any]
    signature: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    torch_version: str
    opset: str


def load(stream: BinaryIO) -> Exported:
    archive, files = open_archive(stream, stored_only=True)
    with archive:
        roots = {name.split("/", 1)[0] for name in files}
        if len(roots) != 1:
            raise broken(f"Expected one folder, found {sorted(roots)[:5]}.")
        root = roots.pop()
        graphs = [name for name in files if name.startswith(f"{root}/models/") and name.endswith(".json")]
        if len(graphs) != 1:
            raise broken(
                f"Expected one models/*.json, found {len(graphs)}: archives of older torch versions keep their weights in pickles."
            )
        model = _json(archive, files[graphs[0]])
        major = _get(model, "schema_version", dict).get("major")
        if major != SCHEMA_MAJOR:
            raise broken(f"Schema version {major}, expected {SCHEMA_MAJOR}.")
        name = graphs[0].rsplit("/", 1)[-1].removesuffix(".json")
        tensors: dict[str, torch.Tensor] = {}
        for kind in ("weights", "constants"):
            config = files.get(f"{root}/data/{kind}/{name}_{kind}_config.json")
            if config is not None:
                tensors |= _tensors(archive, files, f"{root}/data/{kind}", kind, _get(_json(archive, config), "config", dict))
        module = _get(model, "graph_module", dict)
        graph = _get(module, "graph", dict)
        if len(_get(graph, "nodes", list)) > MAX_OPS:
            raise LimitExceeded("The model has too many nodes.", detail=f"At most {MAX_OPS} are allowed.", fix="Export a smaller model.")
        opset = _get(model, "opset_version", dict).get("aten")
        return Exported(graph, _get(module, "signature", dict), tensors, str(model.get("torch_version", ""))[:40], f"aten {opset}"[:40])


def _json(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> dict[str, Any]:
    try:
        document = json.loads(read_entry(archive, entry, MAX_JSON))
    except (ValueError, RecursionError) as error:
        raise broken(f"{entry.filename}: {error}") from error
    if not isinstance(document, dict):
        raise broken(f"{entry.filename}: expected an object.")
    return document


def _get(document: Mapping[str, Any], key: str, kind: type) -> Any:
    value = document.get(key)
    if not isinstance(value, kind):
        raise broken(f"{key!r}: expected {kind.__name__}, found {type(value).__name__}.")
    return value


def _tensors(
    archive: zipfile.ZipFile, files: Mapping[str, zipfile.ZipInfo], folder: str, kind: str, config: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    if len(config) > MAX_WEIGHTS:
        raise LimitExceeded("The model has too many tensors.", detail=f"At most {MAX_WEIGHTS} are allowed.", fix="Export a smaller model.")
    storages: dict[str, bytes] = {}
    found: dict[str, torch.Tensor] = {}
    total = 0
    for name, facts in config.items():
        if not isinstance(facts, dict) or len(name) > MAX_NAME:
            raise broken(f"{kind}: {name[:80]!r} is malformed.")
        meta = facts.get("tensor_meta")
        if facts.get("use_pickle") is not False or not isinstance(meta, dict):
            raise FormatRefused(
                "The archive carries a pickled tensor.", detail=f"{name[:80]!r} is flagged use_pickle: opening it can run code.", fix=_AGAIN
            )
        path = f"{folder}/{_get(facts, 'path_name', str)}"
        if path not in files:
            raise broken(f"The bytes of {name[:80]!r} are missing: {path[:120]!r}.")
        if path not in storages:
            storages[path] = read_entry(archive, files[path])
        tensor = _view(name, storages[path], meta)
        total += tensor.numel() * tensor.element_size()
        if total > MAX_TENSOR_BYTES:
            raise LimitExceeded(
                "The model's tensors are too large.", detail=f"At most {MAX_TENSOR_BYTES} bytes.", fix="Export a smaller model."
            )
        found[f"{kind}/{name}"] = tensor.contiguous()
    return found


def _view(name: str, data: bytes, meta: Mapping[str, Any]) -> torch.Tensor:
    """A strided view over a storage, only after every element was shown to lie inside it."""
    dtype = dtype_of(meta.get("dtype"))
    sizes, strides = _numbers(meta.get("sizes"), name), _numbers(meta.get("strides"), name)
    (offset,) = _numbers([meta.get("storage_offset")], name)
    if len(sizes) != len(strides) or len(sizes) > MAX_RANK or math.prod(sizes) * dtype.itemsize > MAX_TENSOR_BYTES:
        raise broken(f"Tensor {name[:80]!r} has sizes {sizes[:20]} and strides {strides[:20]}.")
    held = len(data) // dtype.itemsize
    if math.prod(sizes) == 0:
        return torch.empty(sizes, dtype=dtype)
    needed = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + 1
    if needed > held:
        raise broken(f"Tensor {name[:80]!r} of sizes {sizes} needs {needed} elements, its data hold {held}.")
    base = torch.frombuffer(bytearray(data[: held * dtype.itemsize]), dtype=dtype)
    return torch.as_strided(base, sizes, strides, offset)


def dtype_of(code: object) -> torch.dtype:
    if not isinstance(code, int) or code not in DTYPE_OF_CODE:
        raise broken(f"Data type {code} is not supported.")
    return DTYPE_OF_CODE[code]


def _numbers(values: object, name: str) -> list[int]:
    found = [item.get("as_int") if isinstance(item, dict) else None for item in values] if isinstance(values, list) else [None]
    if any(not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 1 << 48 for number in found):
        raise broken(f"The sizes of tensor {name[:80]!r} are not plain numbers.")
    return [number for number in found if number is not None]


def open_shape(sizes: object) -> tuple[int | None, ...]:
    """The shape of an input: None where the archive has a symbol."""
    if not isinstance(sizes, list) or len(sizes) > MAX_RANK:
        raise broken("The shape of an input is malformed.")
    return tuple(_open_size(item) for item in sizes)


def _open_size(item: object) -> int | None:
    if isinstance(item, dict) and isinstance(item.get("as_int"), int) and item["as_int"] >= 0:
        return int(item["as_int"])
    expression = item.get("as_expr") if isinstance(item, dict) else None
    text = expression.get("expr_str") if isinstance(expression, dict) else None
    if not isinstance(text, str):
        raise broken("A size of an input is malformed.")
    try:
        if names_in(text):
            return None
    except ValueError as error:
        raise broken(str(error)) from error
    raise broken(f"The size expression {text[:80]!r} names no symbol.")


def only(document: object, keys: Sequence[str] = ()) -> tuple[str, Any]:
    """The single entry of a tagged union as (tag, value)."""
    if not isinstance(document, dict) or len(document) != 1:
        raise broken("A tagged value does not have exactly one entry.")
    tag, value = next(iter(document.items()))
    if keys and tag not in keys:
        raise broken(f"Unexpected entry {str(tag)[:40]!r}.")
    return str(tag), value
