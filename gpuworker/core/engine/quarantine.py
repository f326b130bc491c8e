"""A model taken out of its group: run by the plain loop, which either gives its rows or says by name why it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from gpuworker.core.engine.templates import Model
from gpuworker.core.errors import ExecutionFailed, LimitExceeded, UserError
from gpuworker.core.program.execute import run_batched

FAILURES = (UserError, RuntimeError, ValueError, IndexError, TypeError, KeyError, OverflowError, NotImplementedError, MemoryError)
"""What operators raise. RuntimeError covers a device that is out of memory."""


def alone(
    model: Model, read: Callable[[str], torch.Tensor], inputs: Callable[[], Mapping[str, torch.Tensor]], device: str, batch: int
) -> dict[str, torch.Tensor] | UserError:
    """Outputs by name, or the error as it is shown to people. inputs: makes them, and may itself say why not."""
    try:
        tensors = {key: read(key) for key in model.weights}
        return run_batched(model.program, tensors, inputs(), batch, device)
    except UserError as error:
        return error
    except MemoryError as error:
        return LimitExceeded("The model ran out of memory.", detail=str(error)[:300], fix="Run it on fewer samples at once.")
    except FAILURES as error:
        return ExecutionFailed("The model failed while running.", detail=str(error)[:300], fix="Publish the model again.")
