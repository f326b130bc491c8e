"""The operator set: the only computations a stored model can ask for. None reads files, runs code or allocates without bound."""

from __future__ import annotations

from gpuworker.core.program.ops import elementwise, nn, resize, shape, trees
from gpuworker.core.program.ops.kind import OpSpec

OPSET = 1
"""Part of every key: a change of any operator's meaning raises it."""

OPS: dict[str, OpSpec] = {spec.name: spec for module in (elementwise, shape, nn, resize, trees) for spec in module.ALL}
