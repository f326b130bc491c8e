"""Keys that say when two tensors, two computations or two shapes of computation are the same.

Content key of a tensor: SHA-256 of dtype, shape and little-endian bytes. Value key of an operator: hash of its name,
attributes and the keys of its inputs, so equal keys give equal results. Class key: the same with each weight replaced by
dtype and shape, so equal keys can run as one batched operator.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable

import torch

from gpuworker.core.program.model import Program, Weight, json_value, parse_value
from gpuworker.core.program.ops.kind import DTYPE_NAMES

_CHUNK = 1 << 24


def content_key(tensor: torch.Tensor) -> str:
    """Hex SHA-256 of a tensor's dtype, shape and little-endian bytes. Any layout, any device."""
    digest = hashlib.sha256(f"{DTYPE_NAMES[tensor.dtype]}:{','.join(map(str, tensor.shape))}:".encode())
    raw = tensor_bytes(tensor)
    for start in range(0, len(raw), _CHUNK):
        digest.update(raw[start : start + _CHUNK])
    return digest.hexdigest()


def tensor_bytes(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor in row-major order, little-endian; a view where the tensor is contiguous on the CPU."""
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    if flat.numel() == 0:
        return memoryview(b"")
    raw = flat.view(torch.uint8).numpy()
    if sys.byteorder == "big":
        width = flat.element_size()
        raw = raw.reshape(-1, width)[:, ::-1].reshape(-1).copy()
    return memoryview(raw.data)


def value_keys(program: Program) -> tuple[str, ...]:
    """One key per operator, in order. Names of inputs, of files and of modules play no part."""
    return _keys(program, lambda weight: weight.key)


def class_keys(program: Program) -> tuple[str, ...]:
    """As `value_keys`, blind to the contents of weights."""
    return _keys(program, lambda weight: f"{weight.dtype}:{weight.shape}")


def _keys(program: Program, weight_key: Callable[[Weight], str]) -> tuple[str, ...]:
    inputs = [f"x{place}:{item.dtype}:{item.shape[1:]}" for place, item in enumerate(program.inputs)]
    weights = [f"w:{weight_key(weight)}" for weight in program.weights]
    keys: list[str] = []

    def of(value: str | None) -> str | None:
        if value is None:
            return None
        kind, index, result = parse_value(value)
        return inputs[index] if kind == "x" else weights[index] if kind == "w" else f"v:{keys[index]}.{result}"

    for op in program.ops:
        attributes = {name: json_value(value) for name, value in op.attributes.items()}
        parts = [program.opset, op.name, attributes, [of(value) for value in op.inputs], [of(value) for value in op.sizes]]
        keys.append(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest())
    return tuple(keys)


def weight_of(tensor: torch.Tensor) -> Weight:
    return Weight(content_key(tensor), DTYPE_NAMES[tensor.dtype], tuple(tensor.shape))
