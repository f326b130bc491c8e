"""From a model's raw output to log-probabilities over its labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from gpuworker.core.errors import TrialFailed
from gpuworker.core.input_spec import InputSpec

SUM_TOLERANCE = 1e-2
SMALLEST = 1e-7  # log-probabilities are stored as float16: nothing below log(1e-7) is told apart


def log_probs(outputs: Mapping[str, torch.Tensor], spec: InputSpec) -> torch.Tensor:
    """(N, C) float32 natural log-probabilities, C = len(spec.labels), in the model's own label order.

    Raises TrialFailed naming what was expected and found: the output's name, its shape, its number of labels, NaN or
    infinity, probabilities that are none.
    """
    found = _chosen(outputs, spec).float().cpu()
    kind, count = spec.output["kind"], len(spec.labels)
    columns = 1 if kind.startswith("sigmoid") else count
    rows = found.reshape(found.shape[0], -1)
    if rows.shape[1] != columns:
        raise TrialFailed(
            "The model's output does not fit the labels.",
            detail=f"Expected {columns} numbers per sample for {count} labels, found shape {list(found.shape)}.",
            fix="Name as many labels as the model has outputs, in their order, and check `output.kind`.",
        )
    if not torch.isfinite(rows).all():
        bad = int((~torch.isfinite(rows)).any(1).sum())
        raise TrialFailed(
            "The model gave NaN or infinity.",
            detail=f"In {bad} of {len(rows)} samples.",
            fix="Check that the input spec scales the samples as in training, and that the weights are sound.",
        )
    if kind == "logits":
        return torch.log_softmax(rows, dim=1).clamp_min(_log(SMALLEST))
    if kind == "sigmoid_logit":
        return torch.log_softmax(torch.cat([torch.zeros_like(rows), rows], dim=1), dim=1).clamp_min(_log(SMALLEST))
    _check_range(rows, kind)
    shares = torch.cat([1 - rows, rows], dim=1) if kind == "sigmoid_probability" else rows
    shares = shares.clamp(SMALLEST, 1)
    return (shares / shares.sum(1, keepdim=True)).log()


def _chosen(outputs: Mapping[str, torch.Tensor], spec: InputSpec) -> torch.Tensor:
    name = spec.output.get("name")
    if name is None:
        return _first_real(outputs)
    if name not in outputs:
        raise TrialFailed(
            "The named output does not exist.",
            detail=f"`output.name` is {name!r}; the model gives {', '.join(outputs)}.",
            fix="Name one of those, or leave it out for the first.",
        )
    return outputs[name]


def _first_real(outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The first output that is not a label index: classifiers exported from scikit-learn give the label first."""
    for value in outputs.values():
        if value.is_floating_point():
            return value
    return next(iter(outputs.values()))


def _check_range(rows: torch.Tensor, kind: str) -> None:
    low, high = float(rows.min()), float(rows.max())
    if low < -SUM_TOLERANCE or high > 1 + SUM_TOLERANCE:
        raise TrialFailed(
            "The output is not a probability.", detail=f"Values from {low:.3g} to {high:.3g}.", fix="Set `output.kind` to logits."
        )
    sums = rows.sum(1)
    if kind == "probabilities" and float((sums - 1).abs().max()) > SUM_TOLERANCE:
        raise TrialFailed(
            "The probabilities of a sample do not add up to 1.",
            detail=f"Found sums from {float(sums.min()):.3g} to {float(sums.max()):.3g}.",
            fix="Set `output.kind` to logits, or export the model with its softmax.",
        )


def _log(value: float) -> float:
    return float(torch.tensor(value).log())
