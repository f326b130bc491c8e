"""Training a zoo: every model on its own rows of the domains its recipe names, one torch thread, a few seconds each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gpuworker.core import input_spec
from gpuworker.core.input_spec import InputSpec
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS
from gpuworker.core.protocols import SampleBatch
from gpuworker.zoo.networks import convolutional, front, head
from gpuworker.zoo.reading import Samples
from gpuworker.zoo.recipes import Design, Recipe, draw
from gpuworker.zoo.splits import Rows
from gpuworker.zoo.tasks import Task

BATCH = 64
RATE = 3e-3
MOST_STEPS, MOST_STEPS_CONVOLVED = 1_000, 400
LEAST_ROWS = 40
MOST_REFERENCE = 300
INPUT = "input"

Encode = Callable[[int, Mapping[str, Any]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A model that could be published: its module, its input spec with the labels, its own reference rows and what is known of it.

    shape: of one input. reference: (k, 2) int64, domain number and row number into that domain's samples.
    """

    recipe: Recipe
    module: nn.Sequential
    spec: InputSpec
    shape: tuple[int, ...]
    reference: NDArray[np.int64]
    facts: Mapping[str, Any]


class Inputs:
    """Encoded samples of a task's domains; what several models read alike is encoded once."""

    def __init__(self, modality: str, batches: Sequence[SampleBatch]) -> None:
        self._modality, self._batches = modality, batches
        self._kept: dict[tuple[int, str], NDArray[np.float32]] = {}

    def __call__(self, domain: int, spec: Mapping[str, Any]) -> NDArray[np.float32]:
        """(N, ...) float32 of one domain, before mean and std. Raises Incompatible."""
        key = (domain, repr(sorted(spec.items())))
        if key not in self._kept:
            self._kept[key] = encoded(self._modality, self._batches[domain], spec)
        return self._kept[key]


def encoded(modality: str, batch: SampleBatch, spec: Mapping[str, Any]) -> NDArray[np.float32]:
    """All rows of a batch as the model's one input."""
    document = {"modality": modality, "input": dict(spec), "output": {"kind": "logits"}, "labels": ["a", "b"]}
    parsed = input_spec.parse(document).input
    return np.asarray(MODALITY_IMPLEMENTATIONS[modality].encode(batch, 0, batch.n, parsed, [INPUT])[INPUT], np.float32)


def train_zoo(
    task: Task, domains: Sequence[Samples], rows: Sequence[Rows], seed: int, recipes: Sequence[Recipe] | None = None
) -> list[Trained]:
    """All models of one seed; the same every time on one machine."""
    torch.set_num_threads(1)
    inputs = Inputs(task.modality, [samples.batch for samples in domains])
    drawn = draw(task, domains[0].batch, seed) if recipes is None else recipes
    return [train(task, recipe, domains, rows, inputs) for recipe in drawn]


def train(task: Task, recipe: Recipe, domains: Sequence[Samples], rows: Sequence[Rows], inputs: Encode) -> Trained:
    rng = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    n_labels, design = len(task.labels), recipe.design
    kept = _class_shares(recipe, n_labels, rng)
    picked = {d: _thinned(rows[d].train, domains[d].labels, kept, rng) for d in recipe.domains}
    picked = {
        d: rng.permutation(part)[: max(LEAST_ROWS // len(recipe.domains), int(recipe.share * len(part)))] for d, part in picked.items()
    }
    reference = _reference(recipe, domains, rows, kept, rng)
    raw = torch.from_numpy(np.concatenate([inputs(d, design.input)[part] for d, part in picked.items()]))
    y = np.concatenate([domains[d].labels[part] for d, part in picked.items()])
    flipped = rng.random(len(y)) < recipe.noise
    y = np.where(flipped, rng.integers(0, n_labels, len(y)), y)
    module, spec = _fitted(task, recipe, raw, torch.from_numpy(y), rng)
    facts = {
        "domains": [task.domains[d].name for d in recipe.domains],
        "architecture": design.name,
        "training_rows": len(y),
        "epochs": recipe.epochs,
        "weight_decay": recipe.weight_decay,
        "label_noise": recipe.noise,
        "imbalance": recipe.imbalance,
    }
    return Trained(recipe, module, spec, tuple(raw.shape[1:]), reference, facts)


def _class_shares(recipe: Recipe, n_labels: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Share of each class's rows that the publisher has, (C,)."""
    if recipe.imbalance == "skewed":
        shares = rng.dirichlet(np.full(n_labels, 0.7 if n_labels > 2 else 1.5))
        return np.asarray(shares / shares.max())
    shares = np.ones(n_labels)
    if recipe.imbalance == "dropped":
        shares[rng.permutation(n_labels)[: max(1, n_labels // 3)]] = 0
    return shares


def _thinned(
    rows: NDArray[np.int64], labels: NDArray[np.int64], shares: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    kept = rows[rng.random(len(rows)) < shares[labels[rows]]]
    return kept if len(kept) else rows[:LEAST_ROWS]


def _reference(
    recipe: Recipe, domains: Sequence[Samples], rows: Sequence[Rows], shares: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    parts = [
        np.stack([np.full(len(part), d), part], axis=1)
        for d in recipe.domains
        for part in [_thinned(rows[d].reference, domains[d].labels, shares, rng)]
    ]
    return np.asarray(rng.permutation(np.concatenate(parts))[:MOST_REFERENCE], np.int64)


def _fitted(task: Task, recipe: Recipe, raw: torch.Tensor, y: torch.Tensor, rng: np.random.Generator) -> tuple[nn.Sequential, InputSpec]:
    design, n_labels = recipe.design, len(task.labels)
    document: dict[str, Any] = dict(design.input)
    if task.modality in ("image", "series"):
        axes = tuple(axis for axis in range(raw.dim()) if axis != 1)
        mean, std = raw.mean(axes), raw.std(axes) + 1e-3
        document |= {"mean": [round(float(v), 6) for v in mean], "std": [round(float(v), 6) for v in std]}
        shape = (1, -1, *[1] * (raw.dim() - 2))
        raw = (raw - torch.tensor(document["mean"]).view(shape)) / torch.tensor(document["std"]).view(shape)
    spec = input_spec.parse({"modality": task.modality, "input": document, "output": {"kind": "logits"}, "labels": list(task.labels)})
    module = blank(design, tuple(raw.shape[1:]), n_labels)
    if design.convolutions:
        _descend(module, raw, y, min(recipe.epochs, 20), recipe.weight_decay, MOST_STEPS_CONVOLVED)
        return module.eval(), spec
    first, *rest = module
    layers = nn.Sequential(*rest)
    with torch.no_grad():
        features = first(raw)
    centre, scale = features.mean(0), features.std(0, correction=0) + (0.02 if task.modality == "text" else 0.05)
    seen = torch.ones(features.shape[1])
    if design.half:
        seen[torch.from_numpy(rng.permutation(features.shape[1])[: features.shape[1] // 2])] = 0
    _descend(layers, (features - centre) / scale * seen, y, recipe.epochs, recipe.weight_decay, MOST_STEPS)
    _fold(layers[0], centre, scale, seen)
    return module.eval(), spec


def blank(design: Design, shape: tuple[int, ...], n_labels: int) -> nn.Sequential:
    """The untrained network for inputs (N, *shape)."""
    if design.convolutions:
        return nn.Sequential(*convolutional(shape, design.convolutions, n_labels))
    first = front(design.front, shape)
    with torch.no_grad():
        width = first(torch.zeros(1, *shape)).shape[1]
    return nn.Sequential(first, *head(width, design.hidden, n_labels))


def _fold(layer: nn.Module, centre: torch.Tensor, scale: torch.Tensor, seen: torch.Tensor) -> None:
    """Standardisation and the unseen half become part of the first linear layer, so that the model reads plain features."""
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.mul_(seen / scale)
        layer.bias.sub_(layer.weight @ centre)


def _descend(module: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, weight_decay: float, most_steps: int) -> None:
    """AdamW on cross-entropy, whole epochs until `most_steps` are reached."""
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=weight_decay, fused=True)
    steps = 0
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(y)), BATCH):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(module(x[rows]), y[rows]))
            optimizer.step()
            steps += 1
        if steps >= most_steps:
            return


@torch.inference_mode()
def log_probs(model: Trained, raw: NDArray[np.float32], rows: int = 2_000) -> NDArray[np.float32]:
    """(N, C) natural logarithms for inputs as `Inputs` gives them."""
    x = torch.from_numpy(raw)
    if "mean" in model.spec.input:
        shape = (1, -1, *[1] * (x.dim() - 2))
        x = (x - torch.tensor(model.spec.input["mean"]).view(shape)) / torch.tensor(model.spec.input["std"]).view(shape)
    return np.concatenate([torch.log_softmax(model.module(part), 1).numpy() for part in torch.split(x, rows)])
