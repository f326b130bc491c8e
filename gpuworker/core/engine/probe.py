"""Shapes and sizes of a draft's values as functions of the number of samples N and the open length T, found without data.

Every step runs on the meta device at a small grid of (N, T). What agrees at all points is a constant; amounts are kept as
polynomials that pass through all points: of degree 1 in N, and 2 in T where the model has open sizes beyond its first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch

from gpuworker.core.engine.draft import Draft, Ref, Step
from gpuworker.core.engine.operators import run_op
from gpuworker.core.errors import UserError
from gpuworker.core.program.model import Input
from gpuworker.core.program.ops.kind import DTYPES

SAMPLES = (2, 5)
LENGTHS = ((16, 19, 29), (64, 80, 112), (7, 8, 10), (3, 4, 5), (224, 256, 320))
_ERRORS = (UserError, RuntimeError, ValueError, IndexError, TypeError, KeyError, NotImplementedError, OverflowError)
Polynomial = tuple[float, ...]
"""Coefficients of 1, N, T, NT, T^2, NT^2, or of 1, N alone."""


class NotProbed(Exception):
    """Some size depends on data or does not fit any grid: nothing can be said before the model runs."""


@dataclass(frozen=True, slots=True)
class Grid:
    """points: pairs (N, T); T is 0 where no size but the first is open."""

    points: tuple[tuple[int, int], ...]

    @classmethod
    def closed(cls) -> Grid:
        return cls(tuple((n, 0) for n in SAMPLES))

    @classmethod
    def open(cls, lengths: Sequence[int]) -> Grid:
        return cls(tuple(product(SAMPLES, lengths)))

    def fit(self, amounts: Sequence[float]) -> Polynomial:
        """The polynomial through `amounts`, one for each point."""
        if all(amount == amounts[0] for amount in amounts):
            return (float(amounts[0]), 0.0)
        first, *_ = self.points
        if first[1] == 0:
            slope = (amounts[1] - amounts[0]) / (SAMPLES[1] - SAMPLES[0])
            return (amounts[0] - slope * SAMPLES[0], slope)
        terms = np.array([[1, n, t, n * t, t * t, n * t * t] for n, t in self.points], float)
        return tuple(float(value) for value in np.round(np.linalg.solve(terms, np.array(amounts, float)), 9))


def evaluate(polynomial: Polynomial, samples: int, length: int) -> float:
    """The amount at N samples and length T."""
    if len(polynomial) == 2:
        return polynomial[0] + polynomial[1] * samples
    a, b, c, d, e, f = polynomial
    return a + e * length * length + c * length + samples * (b + d * length + f * length * length)


@dataclass(frozen=True, slots=True)
class Probed:
    """values: per value its meta tensor (or size) at each point of the grid. sources: the value whose memory it looks into.
    seen: operator and operands of each step as they were."""

    grid: Grid
    values: Mapping[Ref, tuple[Any, ...]]
    sources: Mapping[Ref, Ref]
    seen: Mapping[int, tuple[Step, tuple[Ref, ...]]]

    def shapes(self, ref: Ref) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(item.shape) for item in self.values[ref])

    def fixed(self, ref: Ref) -> tuple[int | None, ...]:
        """Sizes that are the same everywhere, None for those that are not."""
        return tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*self.shapes(ref), strict=True))

    def rank(self, ref: Ref) -> int:
        return len(self.shapes(ref)[0])

    def dtype(self, ref: Ref) -> torch.dtype:
        found: torch.dtype = self.values[ref][0].dtype
        return found


def probe(draft: Draft, before: Probed | None = None) -> Probed:
    """before: what was found before a rewrite; rewrites keep the shape of every value, so that only new steps are run.

    Raises NotProbed.
    """
    is_open = any(size is None for item in draft.inputs for size in item.shape[1:])
    if before is not None:
        try:
            return _at(draft, before.grid, before)
        except _ERRORS as error:
            raise NotProbed(str(error)[:300]) from error
    grids = [Grid.open(lengths) for lengths in LENGTHS] if is_open else [Grid.closed()]
    failure: Exception | None = None
    for grid in grids:
        try:
            return _at(draft, grid, None)
        except _ERRORS as error:
            failure = error
    raise NotProbed(str(failure)[:300]) from failure


def _at(draft: Draft, grid: Grid, before: Probed | None) -> Probed:
    values: dict[Ref, tuple[Any, ...]] = {}
    for place, item in enumerate(draft.inputs):
        values[Ref("x", place)] = tuple(_empty(_sizes(item, n, t), item.dtype) for n, t in grid.points)
    for place, slot in enumerate(draft.slots):
        values[Ref("w", place)] = (_empty(slot.shape, slot.dtype),) * len(grid.points)
    sources: dict[Ref, Ref] = {}
    seen: dict[int, tuple[Step, tuple[Ref, ...]]] = {}
    again: set[int] = set()
    with torch.inference_mode(), torch.device("meta"):
        for number in draft.order():
            step = draft.steps[number]
            assert step is not None
            seen[number] = step, tuple(step.operands())
            made = [Ref("v", number, place) for place in range(step.outputs)]
            lent = before is not None and any(ref in before.sources for ref in made)
            if before is None or before.seen.get(number) != seen[number] or (lent and any(ref.number in again for ref in step.operands())):
                again.add(number)
                _step(draft, number, values, sources, len(grid.points))
                continue
            for ref in made:
                values[ref] = before.values[ref]
                if ref in before.sources:
                    sources[ref] = before.sources[ref]
    if any(item.dim() != values[ref][0].dim() for ref, items in values.items() if torch.is_tensor(items[0]) for item in items):
        raise ValueError("a rank depends on the size of the input")
    return Probed(grid, values, sources, seen)


def _step(draft: Draft, number: int, values: dict[Ref, tuple[Any, ...]], sources: dict[Ref, Ref], points: int) -> None:
    step = draft.steps[number]
    assert step is not None
    results: list[tuple[Any, ...]] = []
    for point in range(points):
        inputs = [None if ref is None else values[ref][point] for ref in step.inputs]
        result = run_op(step.name, inputs, filled(step.attributes, [values[ref][point] for ref in step.sizes]))
        results.append(result if isinstance(result, tuple) else (result,))
    for place in range(step.outputs):
        made = Ref("v", number, place)
        values[made] = tuple(result[place] for result in results)
        if torch.is_tensor(values[made][0]):
            memory = values[made][0].untyped_storage()._cdata
            holder = next((ref for ref in step.inputs if ref is not None and values[ref][0].untyped_storage()._cdata == memory), None)
            if holder is not None:
                sources[made] = sources.get(holder, holder)


def filled(attributes: Mapping[str, Any], sizes: Sequence[int]) -> Mapping[str, Any]:
    """Attributes with "@k" replaced by the k-th size."""
    if not sizes:
        return attributes

    def one(value: Any) -> Any:
        return sizes[int(value[1:])] if isinstance(value, str) and value[:1] == "@" else value

    return {name: tuple(one(item) for item in value) if isinstance(value, tuple) else one(value) for name, value in attributes.items()}


def _sizes(item: Input, samples: int, length: int) -> list[int]:
    return [size if size is not None else samples if place == 0 else length for place, size in enumerate(item.shape)]


def _empty(shape: Sequence[int], dtype: str) -> torch.Tensor:
    return torch.empty(tuple(shape), dtype=DTYPES[dtype], device="meta")
