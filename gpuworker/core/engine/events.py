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


Event = Rows | Failed | Checkpoint


class Stopped(Exception):
    """The run was cancelled: between two pieces of work, hence at most `Predicted.piece_ms` after it was asked to."""
