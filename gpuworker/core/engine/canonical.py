"""Rewrites that never change a bit of the result: one form for every view, constants computed, no-ops and dead steps dropped."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import torch

from gpuworker.core.engine.draft import Draft, Ref, Step
from gpuworker.core.engine.operators import FEED, gives_size
from gpuworker.core.engine.probe import Probed
from gpuworker.core.engine.recipes import Recipe, Slot
from gpuworker.core.program.model import json_value
from gpuworker.core.program.ops.kind import DTYPE_NAMES

VIEWS = frozenset({"reshape", "flatten", "squeeze", "unsqueeze"})
_ONE_DIM = frozenset({"softmax", "log_softmax", "concat", "select", "slice", "argmax", "cumsum", "topk", "gather", "scatter", "take"})
_DIMS = frozenset({"sum", "mean", "amax", "amin", "logsumexp", "norm1", "norm2", "any", "all", "prod", "var", "flip"})
_SMALL = 1 << 16
_HALF_OR_LESS = (torch.float32, torch.float16, torch.bfloat16)


def canonical(draft: Draft, probed: Probed) -> None:
    """Rewrite in place; `draft` is settled afterwards, and holds steps that `probed` does not know."""
    for number in draft.order():
        step = draft.steps[number]
        assert step is not None
        step.attributes = _plain_numbers(step, probed)
    _fold_constants(draft, probed)
    _drop_no_ops(draft, probed)
    draft.settle()
    _one_form_of_views(draft, probed)
    draft.settle()


def _plain_numbers(step: Step, probed: Probed) -> Mapping[str, Any]:
    """Dimensions counted from the front, slices within their size, numbers no finer than the tensors they meet."""
    clean = dict(step.attributes)
    tensors = [ref for ref in step.inputs if ref is not None]
    if tensors and all(probed.dtype(ref) in _HALF_OR_LESS or not probed.dtype(ref).is_floating_point for ref in tensors):
        clean = {name: _single(value) for name, value in clean.items()}
    if not tensors:
        return clean
    rank, sizes = probed.rank(tensors[0]), probed.fixed(tensors[0])
    if step.name in _ONE_DIM and isinstance(clean.get("dim"), int) and rank:
        clean["dim"] %= rank
    if step.name in _DIMS and clean.get("dims") is not None and rank:
        clean["dims"] = tuple(sorted(dim % rank for dim in clean["dims"]))
    if step.name == "select" and isinstance(clean["index"], int) and (size := sizes[clean["dim"]]) is not None:
        clean["index"] %= size
    if step.name == "slice" and clean["step"] > 0:
        size = sizes[clean["dim"]]
        if size is not None and not step.sizes:
            clean["start"], clean["end"], _ = slice(clean["start"], clean["end"], clean["step"]).indices(size)
        elif clean["start"] is None:
            clean["start"] = 0
    return clean


def _single(value: Any) -> Any:
    """A float as float32 holds it: kernels of float32 tensors do not see more."""
    if isinstance(value, float) and abs(value) < 3e38:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    return value


def _fold_constants(draft: Draft, probed: Probed) -> None:
    for number in draft.order():
        step = draft.steps[number]
        assert step is not None
        if step.outputs != 1 or step.sizes or gives_size(step.name) or not step.inputs:
            continue
        inputs = [None if ref is None else draft.final(ref) for ref in step.inputs]
        if any(ref is not None and ref.kind != "w" for ref in inputs):
            continue
        shapes = probed.shapes(Ref("v", number))
        held = sum(draft.slots[ref.number].elements for ref in inputs if ref is not None)
        slot = Slot(DTYPE_NAMES[probed.dtype(Ref("v", number))], shapes[0], None, _recipe(step, inputs))
        if len(set(shapes)) == 1 and slot.elements <= max(_SMALL, 2 * held):
            draft.replace(Ref("v", number), draft.add_slot(slot))


def _recipe(step: Step, inputs: list[Ref | None]) -> Recipe:
    attributes = {name: json_value(value) for name, value in step.attributes.items()}
    options = json.dumps({"op": step.name, "attributes": attributes}, sort_keys=True)
    return Recipe("folded", options, tuple(None if ref is None else ref.number for ref in inputs))


def _drop_no_ops(draft: Draft, probed: Probed) -> None:
    """Casts to the same type, expansions to the same shape, transpositions and slices that leave all as it is."""
    for number in draft.order():
        step = draft.steps[number]
        assert step is not None
        made, given = Ref("v", number), step.inputs[0] if step.inputs else None
        if given is None or step.outputs != 1 or gives_size(step.name) or step.name == FEED:
            continue
        same = probed.shapes(given) == probed.shapes(made) and probed.dtype(given) == probed.dtype(made)
        if same and (
            step.name in ("cast", "expand")
            or (step.name == "permute" and list(step.attributes["dims"]) == list(range(probed.rank(given))))
            or (step.name == "slice" and step.attributes["step"] == 1)
            or (step.name == "concat" and len(step.inputs) == 1)
        ):
            draft.replace(made, given)


def _one_form_of_views(draft: Draft, probed: Probed) -> None:
    """Chains of reshapes, and of transpositions, become one step in a form that does not tell how they were written."""
    known: dict[Ref, Ref] = {}
    for number in draft.order():
        step = draft.steps[number]
        assert step is not None
        made = Ref("v", number)
        if step.name == "permute":
            assert step.inputs[0] is not None
            given = known.get(step.inputs[0], step.inputs[0])
            inner = draft.step(given)
            dims = tuple(dim % probed.rank(made) for dim in step.attributes["dims"])
            if inner is not None and inner.name == "permute" and given in probed.values:
                dims = tuple(inner.attributes["dims"][dim] for dim in dims)
                assert inner.inputs[0] is not None
                given = inner.inputs[0]
            if dims == tuple(range(len(dims))):
                known[made] = given
            else:
                draft.steps[number] = Step("permute", {"dims": dims}, [given], [])
        elif step.name in VIEWS:
            _one_reshape(draft, probed, number, known)
    for old, new in known.items():
        draft.replace(old, new)


def _one_reshape(draft: Draft, probed: Probed, number: int, known: dict[Ref, Ref]) -> None:
    made, step = Ref("v", number), draft.steps[number]
    assert step is not None and step.inputs[0] is not None
    origin = known.get(step.inputs[0], step.inputs[0])
    while (inner := draft.step(origin)) is not None and inner.name in VIEWS and inner.inputs[0] is not None:
        origin = known.get(inner.inputs[0], inner.inputs[0])
    if probed.shapes(origin) == probed.shapes(made):
        known[made] = origin
        return
    picked = _picked(draft, probed, origin, made)
    if picked is not None:
        draft.steps[number] = picked
        return
    dims = view_dims(probed.shapes(origin), probed.shapes(made))
    if dims is not None:
        draft.steps[number] = Step("reshape", {"dims": dims}, [origin], [])


def _picked(draft: Draft, probed: Probed, origin: Ref, made: Ref) -> Step | None:
    """A slice of one element whose dimension is then dropped is a selection."""
    cut = draft.step(origin)
    if cut is None or cut.name != "slice" or cut.sizes or cut.inputs[0] is None or probed.rank(made) != probed.rank(origin) - 1:
        return None
    dim, start = cut.attributes["dim"], cut.attributes["start"]
    without = tuple((*shape[:dim], *shape[dim + 1 :]) for shape in probed.shapes(origin))
    if probed.fixed(origin)[dim] != 1 or probed.fixed(cut.inputs[0])[dim] is None or without != probed.shapes(made):
        return None
    return Step("select", {"dim": dim, "index": start}, [cut.inputs[0]], [])


def view_dims(before: tuple[tuple[int, ...], ...], after: tuple[tuple[int, ...], ...]) -> tuple[int, ...] | None:
    """Sizes of a reshape: numbers where they are constant, 0 keeps the size at its place, -1 for one that has to be worked out."""
    dims: list[int] = []
    for place, sizes in enumerate(zip(*after, strict=True)):
        if len(set(sizes)) == 1:
            if sizes[0] == 0:
                return None
            dims.append(sizes[0])
        elif place < len(before[0]) and sizes == tuple(shape[place] for shape in before):
            dims.append(0)
        else:
            dims.append(-1)
    return tuple(dims) if dims.count(-1) <= 1 else None
