"""Freeing a model whose file froze the number of samples, where that can be proved by running both forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from gpuworker.core.errors import UserError
from gpuworker.core.program.build import PROBES, Builder
from gpuworker.core.program.execute import MAX_FIXED_BATCH, run, run_batched
from gpuworker.core.program.model import Input, Program
from gpuworker.core.program.ops.kind import DTYPES
from gpuworker.core.program.values import Value

_ROWS = 3
_MAX_TRIAL = 1 << 26


@dataclass(frozen=True, slots=True)
class Attempt:
    """One conversion of a file: its builder and its named outputs."""

    builder: Builder
    outputs: tuple[tuple[str, Value], ...]


Convert = Callable[[tuple[Input, ...], int | None], Attempt]


def open_batch(inputs: tuple[Input, ...], convert: Convert) -> tuple[Program, Mapping[str, torch.Tensor], str]:
    """(program, tensors, note). A frozen batch is opened when the opened program gives the same rows; else it is recorded."""
    frozen = _frozen(inputs)
    if frozen is None:
        attempt = convert(inputs, None)
        program, tensors = attempt.builder.finish(attempt.outputs)
        return program, tensors, ""
    attempt = convert(inputs, None)
    program, tensors = attempt.builder.finish(attempt.outputs, frozen)
    freed = _freed(inputs, frozen, convert)
    if freed is not None and _agrees(program, tensors, *freed):
        return (*freed, f"The file fixes {frozen} samples at once; it was opened to any number.")
    return program, tensors, f"The file fixes {frozen} samples at once; larger sets are fed in parts."


def _frozen(inputs: tuple[Input, ...]) -> int | None:
    """The one number all inputs have as first size, or None."""
    firsts = {item.shape[0] if item.shape else None for item in inputs}
    first = firsts.pop() if len(firsts) == 1 else None
    return first if first else None


def _freed(inputs: tuple[Input, ...], frozen: int, convert: Convert) -> tuple[Program, Mapping[str, torch.Tensor]] | None:
    ports = tuple(replace(item, shape=(None, *item.shape[1:])) for item in inputs)
    try:
        attempt = convert(ports, frozen)
        follows = all(
            value.known and value.rank and tuple(probe.shape[0] for probe in value.probes) == PROBES for _, value in attempt.outputs
        )
        return attempt.builder.finish(attempt.outputs) if follows else None
    except UserError:
        return None


def _agrees(fixed: Program, fixed_tensors: Mapping[str, torch.Tensor], free: Program, free_tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether both programs give the same rows on a few random samples. Nothing is proved by a run that gives no number."""
    batch = fixed.fixed_batch or 1
    if batch > MAX_FIXED_BATCH or batch * sum(_row(item) for item in fixed.inputs) > _MAX_TRIAL:
        return False
    samples = random_inputs(free, _ROWS)
    try:
        expected = run_batched(fixed, fixed_tensors, samples, batch)
        found = run(free, free_tensors, samples)
    except UserError:
        return False
    return all(
        expected[name].shape == found[name].shape
        and torch.allclose(expected[name].double(), found[name].double(), 1e-3, 1e-4, equal_nan=True)
        for name in expected
    )


def _row(item: Input) -> int:
    total = 1
    for size in item.shape[1:]:
        total *= size or 1
    return total


def random_inputs(program: Program, rows: int, open_size: int = 16) -> dict[str, torch.Tensor]:
    """Seeded inputs of `rows` samples: normal floats, 0 or 1 for integers. Open sizes beyond the first become `open_size`."""
    source = torch.Generator().manual_seed(7)
    made: dict[str, torch.Tensor] = {}
    for item in program.inputs:
        shape = [(rows if place == 0 else open_size) if size is None else size for place, size in enumerate(item.shape)]
        dtype = DTYPES[item.dtype]
        if dtype.is_floating_point:
            made[item.name] = torch.randn(shape, generator=source).to(dtype)
        else:
            made[item.name] = torch.randint(0, 2, shape, generator=source).to(dtype)
    return made
