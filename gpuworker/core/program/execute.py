"""Running one program, and running one with a fixed batch on any number of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from gpuworker.core.errors import ExecutionFailed, LimitExceeded, UserError
from gpuworker.core.exhaustion import out_of_memory
from gpuworker.core.program.live import LiveBytes
from gpuworker.core.program.model import Op, Program
from gpuworker.core.program.ops import OPS
from gpuworker.core.program.ops.kind import DTYPES

Tensors = Mapping[str, torch.Tensor]
Observe = Callable[[int], None]
MAX_FIXED_BATCH = 1 << 20
_CREATORS = frozenset({"full", "arange", "ints_to_tensor"})


def resolve(op: Op, sizes: list[int]) -> dict[str, Any]:
    """The attributes of an operator with "@k" replaced by the k-th run-time size."""
    if not sizes:
        return dict(op.attributes)

    def fill(value: Any) -> Any:
        return sizes[int(value[1:])] if isinstance(value, str) and value[:1] == "@" else value

    return {name: tuple(fill(item) for item in value) if isinstance(value, tuple) else fill(value) for name, value in op.attributes.items()}


def check_inputs(program: Program, inputs: Tensors) -> None:
    """Raises ExecutionFailed when an input is missing, unexpected, or of another dtype or shape."""
    fix = "Change the input spec so that it fits the model."
    expected = {item.name for item in program.inputs}
    if set(inputs) != expected:
        raise ExecutionFailed(
            "The model was fed the wrong inputs.", detail=f"Expected {sorted(expected)}, found {sorted(inputs)}.", fix=fix
        )
    for item in program.inputs:
        found = inputs[item.name]
        same = len(item.shape) == found.dim() and all(want in (None, size) for want, size in zip(item.shape, found.shape, strict=False))
        if not same or found.dtype != DTYPES[item.dtype]:
            want = [size if size is not None else "any" for size in item.shape]
            detail = f"Input {item.name}: expected {item.dtype} {want}, found {str(found.dtype)[6:]} {list(found.shape)}."
            raise ExecutionFailed("An input does not fit the model.", detail=detail, fix=fix)


@torch.inference_mode()
def run(
    program: Program, tensors: Tensors, inputs: Tensors, device: str = "cpu", observe: Observe | None = None
) -> dict[str, torch.Tensor]:
    """Outputs by name, on `device`. tensors: by content key. Each value is dropped after its last use.

    observe: told after each operator how many bytes the inputs and results alive take, weights apart. What an operator uses
    inside itself and gives back before it ends is not seen.
    Raises ExecutionFailed naming the operator, LimitExceeded when an operator would make too large a result, MemoryError.
    """
    check_inputs(program, inputs)
    missing = [weight.key for weight in program.weights if weight.key not in tensors]
    if missing:
        raise ExecutionFailed(
            "Weights of the model are missing.", detail=f"{len(missing)} of {len(program.weights)}.", fix="Upload the model again."
        )
    target = torch.device(device)
    values: dict[str, Any] = {f"x{place}": inputs[item.name].to(target) for place, item in enumerate(program.inputs)}
    values |= {f"w{place}": tensors[weight.key].to(target) for place, weight in enumerate(program.weights)}
    last = _last_uses(program)
    live = _meter(values) if observe is not None else None
    for place, op in enumerate(program.ops):
        try:
            result = _step(op, values, target)
        except UserError:
            raise
        except (RuntimeError, ValueError, IndexError, TypeError, KeyError, OverflowError, NotImplementedError, MemoryError) as error:
            failed = _failed(program, place, values, error)
            # Not the model's mistake but a limit: the sandbox says so, and replaces the child that has run full.
            raise (MemoryError(failed.detail) if out_of_memory(error) else failed) from error
        for number in range(op.outputs):
            values[_name(place, number)] = result[number] if isinstance(result, tuple) else result
        if live is not None and observe is not None:
            for number in range(op.outputs):
                live.enter(values[_name(place, number)])
            observe(live.total)
            for value in last[place]:
                live.leave(values.get(value))
        for value in last[place]:
            values.pop(value, None)
    return {output.name: values[_canonical(output.value)] for output in program.outputs}


def _meter(values: Mapping[str, Any]) -> LiveBytes:
    live = LiveBytes({name: value for name, value in values.items() if name[0] == "w"})
    for name, value in values.items():
        if name[0] == "x":
            live.enter(value)
    return live


def _step(op: Op, values: Mapping[str, Any], target: torch.device) -> Any:
    sizes = [values[_canonical(value)] for value in op.sizes]
    result = OPS[op.name].run([None if value is None else values[_canonical(value)] for value in op.inputs], resolve(op, sizes))
    return result.to(target) if op.name in _CREATORS else result


def _name(place: int, number: int) -> str:
    return f"v{place}.{number}"


def _canonical(value: str) -> str:
    return value if value[0] != "v" or "." in value else f"{value}.0"


def _last_uses(program: Program) -> list[list[str]]:
    """For each operator the values nobody needs after it."""
    kept = {_canonical(output.value) for output in program.outputs}
    last: dict[str, int] = {}
    for place, op in enumerate(program.ops):
        last |= {_name(place, number): place for number in range(op.outputs)}
        last |= {_canonical(value): place for value in (*op.inputs, *op.sizes) if value is not None}
    uses: list[list[str]] = [[] for _ in program.ops]
    for value, place in last.items():
        if value not in kept and value[0] != "w":
            uses[place].append(value)
    return uses


def _failed(program: Program, place: int, values: Mapping[str, Any], error: Exception) -> ExecutionFailed:
    op = program.ops[place]
    shapes = [list(values[_canonical(value)].shape) for value in op.inputs if value is not None and _canonical(value) in values]
    cause = str(error).strip().split("\n")[0][:300]
    return ExecutionFailed(
        "The model failed while running.",
        detail=f"Operator {place + 1} of {len(program.ops)} ({op.name}) on shapes {shapes}: {cause}",
        fix="Check that the input spec feeds the model what it was trained on.",
    )


def run_batched(
    program: Program, tensors: Tensors, inputs: Tensors, batch_size: int, device: str = "cpu", observe: Observe | None = None
) -> dict[str, torch.Tensor]:
    """Run on N samples in batches of `batch_size`, or of the model's fixed batch, the last one padded by repeating a sample.

    All inputs share N as first size; an input whose own first size is fixed otherwise (a state) is fed whole. observe: as `run`.
    """
    shared = per_sample(program)
    counts = {inputs[item.name].shape[0] for item in program.inputs if item.name in shared and item.name in inputs}
    if len(counts) > 1 or batch_size < 1:
        raise ExecutionFailed(
            "The inputs differ in their number of samples.", detail=f"Found {sorted(counts)}.", fix="Feed every input the same samples."
        )
    total = counts.pop() if counts else 0
    step = program.fixed_batch or batch_size
    if program.fixed_batch and step > MAX_FIXED_BATCH:
        raise LimitExceeded(
            "The model's fixed batch is too large.",
            detail=f"It takes {step} samples at once, at most {MAX_FIXED_BATCH} are allowed.",
            fix="Export the model with a dynamic batch size.",
        )
    if total == 0:
        raise ExecutionFailed("There are no samples to run on.", fix="Feed at least one sample.")
    parts: list[dict[str, torch.Tensor]] = []
    for start in range(0, total, step):
        count = min(step, total - start)
        part = {
            name: _cut(value, start, count, step if program.fixed_batch else count) if name in shared else value
            for name, value in inputs.items()
        }
        outputs = run(program, tensors, part, device, observe)
        parts.append({name: _trim(name, value, count, step if program.fixed_batch else count) for name, value in outputs.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def per_sample(program: Program) -> frozenset[str]:
    """Names of the inputs whose first size is the number of samples."""
    first = program.fixed_batch
    return frozenset(item.name for item in program.inputs if item.shape and item.shape[0] in (None, first))


def _cut(value: torch.Tensor, start: int, count: int, wanted: int) -> torch.Tensor:
    part = value[start : start + count]
    return part if count == wanted else torch.cat([part, part[-1:].expand(wanted - count, *part.shape[1:])])


def _trim(name: str, value: torch.Tensor, count: int, fed: int) -> torch.Tensor:
    """Rows of the real samples. An output without one row per sample cannot be split over samples."""
    if value.dim() == 0 or value.shape[0] != fed:
        raise ExecutionFailed(
            "An output does not have one row per sample.",
            detail=f"Output {name} has shape {list(value.shape)} for {fed} samples.",
            fix="Export the model so that every output's first size is the batch.",
        )
    return value[:count]
