"""Decision-tree ensembles as tensors, after the layout of ONNX-ML's TreeEnsemble operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gpuworker.core.program.ops.kind import Attr, Attributes, OpSpec, guard

Tensor = torch.Tensor
MODES = ("LEAF", "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
MAX_DEPTH = 4_096
_TREES_AT_ONCE = 64


def tree_ensemble(inputs: Sequence[Any], a: Attributes) -> Tensor:
    """Sum over trees of the leaf each row falls into: (N, C).

    x (N, F); per tree node (K): feature, threshold, yes child, no child, mode (index into MODES), missing goes to yes;
    roots (T); leaves (K, C). A leaf's children are the leaf itself, so `depth` steps reach every leaf.
    """
    x, feature, threshold, yes, no, mode, missing, roots, leaves = inputs
    x = x if x.is_floating_point() else x.to(torch.float32)
    rows, total = x.shape[0], torch.zeros((x.shape[0], leaves.shape[1]), dtype=leaves.dtype, device=x.device)
    guard((rows, min(_TREES_AT_ONCE, roots.shape[0]), max(leaves.shape[1], 1)), "tree_ensemble")
    for start in range(0, roots.shape[0], _TREES_AT_ONCE):
        node = roots[start : start + _TREES_AT_ONCE].expand(rows, -1)
        for _ in range(a["depth"]):
            value = torch.gather(x, 1, feature[node])
            goes = _holds(value, threshold[node].to(x.dtype), mode[node]) | (missing[node] & torch.isnan(value))
            node = torch.where(goes, yes[node], no[node])
        total = total + leaves[node].sum(1)
    return total


def _holds(value: Tensor, threshold: Tensor, mode: Tensor) -> Tensor:
    result = value <= threshold
    for code, test in (
        (2, value < threshold),
        (3, value >= threshold),
        (4, value > threshold),
        (5, value == threshold),
        (6, value != threshold),
    ):
        result = torch.where(mode == code, test, result)
    return result


ALL: tuple[OpSpec, ...] = (OpSpec("tree_ensemble", tree_ensemble, (9, 9), {"depth": Attr("int", required=True)}),)
