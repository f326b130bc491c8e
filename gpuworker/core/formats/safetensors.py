"""safetensors weights with a config.json that names one of our architectures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from gpuworker.core.errors import LimitExceeded, UnreadableModel
from gpuworker.core.formats.architectures import ARCHITECTURES, Architecture, Config, Net
from gpuworker.core.formats.facts import ReadModel, facts_of
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import MAX_NAME, MAX_WEIGHTS
from gpuworker.core.program.ops.kind import DTYPE_NAMES
from gpuworker.core.program.values import Value

MAX_BYTES = 2 << 30
MAX_CONFIG = 1 << 20
_IGNORED = "num_batches_tracked"


def read(files: Mapping[str, BinaryIO], config: Mapping[str, Any] | None = None) -> ReadModel:
    """Build the architecture that config.json (in `files`, or given as `config`) names, with the tensors of the weights file.

    Raises UnreadableModel naming every missing, unexpected or misshapen tensor, or a key of config.json that does not fit.
    """
    weights = [name for name in files if name.lower().endswith(".safetensors")]
    if len(weights) != 1:
        raise UnreadableModel(
            "One .safetensors file is expected.", detail=f"Found {sorted(files)}.", fix="Upload one weights file and its config.json."
        )
    document = config if config is not None else _config(files)
    name = document.get("architecture")
    architecture = ARCHITECTURES.get(name) if isinstance(name, str) else None
    if architecture is None:
        detail = f"Expected one of {sorted(ARCHITECTURES)}, found {str(name)[:60]!r}."
        raise UnreadableModel("config.json names no known architecture.", detail=detail, fix="Export the model as ONNX or .pt2 instead.")
    tensors = _tensors(files[weights[0]])
    _check(wanted_tensors(document), tensors)
    builder, _, output = _build(architecture, document, tensors)
    program, kept = builder.finish([("logits", output)])
    return ReadModel(program, kept, facts_of(program, "safetensors", f"config.json: {name}", ""))


def wanted_tensors(document: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that the architecture of a config needs."""
    return _build(ARCHITECTURES[document["architecture"]], document, {})[1].wanted


def _build(architecture: Architecture, document: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> tuple[Builder, Net, Value]:
    """The network over its tensors, or over shapes alone when none are given."""
    settings = Config(document)
    builder = Builder((architecture.port(settings),))
    net = Net(builder, tensors, {})
    output = architecture.build(net, settings, builder.inputs[0])
    settings.check_all_read()
    return builder, net, output


def _config(files: Mapping[str, BinaryIO]) -> Mapping[str, Any]:
    if "config.json" not in files:
        raise UnreadableModel(
            "The weights file has no architecture.",
            detail="A .safetensors file holds tensors only, and config.json was not uploaded with it.",
            fix='Add a config.json such as {"architecture": "mlp", "inputs": 16, "hidden": [32], "classes": 3}, or export as ONNX or .pt2.',
        )
    data = files["config.json"].read(MAX_CONFIG + 1)
    try:
        document = json.loads(data[:MAX_CONFIG])
    except (ValueError, RecursionError) as error:
        raise UnreadableModel("config.json is not JSON.", detail=str(error)[:200], fix="Save it as a JSON object, UTF-8.") from error
    if not isinstance(document, dict) or len(data) > MAX_CONFIG:
        raise UnreadableModel(
            "config.json is not a JSON object.", detail=f"At most {MAX_CONFIG} bytes.", fix="Save it as a JSON object, UTF-8."
        )
    return document


def _tensors(stream: BinaryIO) -> dict[str, torch.Tensor]:
    # A read up to the cap would take the memory of the cap.
    size = stream.seek(0, os.SEEK_END)
    if size > MAX_BYTES:
        raise LimitExceeded(
            "The weights file is too large.", detail=f"At most {MAX_BYTES} bytes are allowed.", fix="Upload a smaller model."
        )
    stream.seek(0)
    try:
        tensors: dict[str, torch.Tensor] = load(stream.read(size))
    except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise UnreadableModel(
            "The weights file is not readable safetensors.", detail=str(error)[:200], fix="Save it again with safetensors."
        ) from error
    if len(tensors) > MAX_WEIGHTS or any(len(name) > MAX_NAME for name in tensors):
        raise LimitExceeded(
            "The weights file has too many tensors or too long names.", detail=f"At most {MAX_WEIGHTS}.", fix="Upload a smaller model."
        )
    odd = [f"{name} ({tensor.dtype})" for name, tensor in tensors.items() if tensor.dtype not in DTYPE_NAMES]
    if odd:
        raise UnreadableModel("The weights file has tensors of an unsupported type.", detail=", ".join(odd[:10]), fix="Save it as float32.")
    return {
        name: tensor.to(torch.float32) if tensor.dtype in (torch.float16, torch.bfloat16, torch.float64) else tensor
        for name, tensor in tensors.items()
    }


def _check(wanted: Mapping[str, tuple[int, ...]], tensors: Mapping[str, torch.Tensor]) -> None:
    problems = [f"{name}: missing, expected {list(shape)}" for name, shape in wanted.items() if name not in tensors]
    problems += [
        f"{name}: expected {list(shape)}, found {list(tensors[name].shape)}"
        for name, shape in wanted.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    problems += [
        f"{name}: unexpected, found {list(tensors[name].shape)}" for name in tensors if name not in wanted and not name.endswith(_IGNORED)
    ]
    problems += [
        f"{name}: expected float numbers, found {tensors[name].dtype}"
        for name in wanted
        if name in tensors and not tensors[name].is_floating_point()
    ]
    if problems:
        shown = "; ".join(problems[:12]) + (f"; and {len(problems) - 12} more" if len(problems) > 12 else "")
        raise UnreadableModel(
            "The tensors do not fit the architecture.", detail=shown, fix="Correct the sizes in config.json, or save the right weights."
        )
