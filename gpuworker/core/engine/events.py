"""What a plan says while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from gpuworker.core.errors import UserError


@dataclass(frozen=True, slots=True)
class Rows:
    """Outputs of one model, by name, for samples start to stop. ms: what was spent on this model alone since its last rows."""

    model: int
    start: int
    stop: int
    outputs: Mapping[str, torch.Tensor]
    ms: float


@dataclass(frozen=True, slots=True)
class Failed:
    """One model cannot go on; the others do. error: names the operator, as the plain loop does."""

    model: int
    error: UserError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything up to sample `stop` has been given for these models: a run that starts again need not ask for it."""

    models: tuple[int, ...]
    stop: int


@dataclass(frozen=True, slots=True)
class Worked:
    """One more piece of work is done: the caller may look at the clock, or close the run for good. part: which of the plan. ms: what
    it took. Pieces take at most about `Predicted.piece_ms`."""

    part: int
    ms: float


Event = Rows | Failed | Checkpoint | Worked
