"""Checks shared by the encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpuworker.core.compatibility import compatible
from gpuworker.core.errors import Incompatible
from gpuworker.core.protocols import SampleBatch


def require_fit(batch: SampleBatch, spec: Mapping[str, Any]) -> None:
    """Raises Incompatible, with the reason, when the batch cannot be fed as `spec` says."""
    reason = compatible({**batch.meta, "modality": batch.modality}, spec)
    if reason:
        raise Incompatible(
            "The samples do not fit the model.", detail=reason, fix="Choose another model, or give the samples what it needs."
        )


def only_input(model_inputs: Sequence[str]) -> str:
    """The name of the model's one input. Raises Incompatible when it has another number of inputs."""
    if len(model_inputs) != 1:
        raise Incompatible(
            "The model needs more than one input.",
            detail=f"It has {', '.join(model_inputs) or 'none'}; samples of this kind fill exactly one.",
            fix="Export the model with one input.",
        )
    return model_inputs[0]
