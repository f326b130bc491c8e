"""Zoos on disk, under a folder of the user's cache: weights as safetensors, the rest as JSON. Never inside the repository."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch

from gpuworker.core import input_spec
from gpuworker.zoo import recipes
from gpuworker.zoo.reading import Samples, content_key
from gpuworker.zoo.recipes import Design, Recipe
from gpuworker.zoo.splits import Rows
from gpuworker.zoo.tasks import Task
from gpuworker.zoo.train import Trained, blank, train_zoo

VERSION = "zoo/1"
"""Changes with anything that would train other models from the same data and seed."""


def default_folder() -> Path:
    """$XDG_CACHE_HOME/modelshop/zoos, or ~/.cache/modelshop/zoos."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelshop" / "zoos"


def zoo_key(task: Task, seed: int, models: int = recipes.MODELS) -> str:
    """16 hex digits over the data, the seed, the number of models and the version of the training."""
    return blake2b(f"{VERSION}|{content_key(task)}|{seed}|{models}".encode(), digest_size=8).hexdigest()


def zoo(
    folder: Path, task: Task, seed: int, domains: Sequence[Samples], rows: Sequence[Rows], models: int = recipes.MODELS
) -> list[Trained]:
    """The trained models of one task and seed: from the cache when they are there, else trained and kept."""
    place = folder / f"{task.name}-{seed}-{zoo_key(task, seed, models)}"
    weights, document = place.with_suffix(".safetensors"), place.with_suffix(".json")
    if weights.exists() and document.exists():
        return _loaded(weights, document)
    trained = train_zoo(task, domains, rows, seed, recipes.draw(task, domains[0].batch, seed, models))
    tensors = {f"{i}.{name}": tensor.contiguous() for i, model in enumerate(trained) for name, tensor in model.module.state_dict().items()}
    replace_file(weights, lambda path: safetensors.torch.save_file(tensors, path))
    replace_file(document, lambda path: path.write_text(json.dumps([_as_json(model) for model in trained])))
    return trained


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Whole or absent: written beside and renamed, by a name of this process's own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write(temporary)
    temporary.replace(path)


def _as_json(model: Trained) -> dict[str, Any]:
    return {
        "recipe": dataclasses.asdict(model.recipe),
        "spec": model.spec.to_json(),
        "shape": model.shape,
        "reference": model.reference.tolist(),
        "facts": dict(model.facts),
    }


def _loaded(weights: Path, document: Path) -> list[Trained]:
    tensors = safetensors.torch.load_file(weights)
    found = []
    for place, entry in enumerate(json.loads(document.read_text())):
        recipe, spec, shape = _recipe(entry["recipe"]), input_spec.parse(entry["spec"]), tuple(entry["shape"])
        module = blank(recipe.design, shape, len(spec.labels))
        prefix = f"{place}."
        module.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)})
        found.append(Trained(recipe, module.eval(), spec, shape, np.array(entry["reference"], np.int64), entry["facts"]))
    return found


def _recipe(entry: Mapping[str, Any]) -> Recipe:
    design = {**entry["design"], "hidden": tuple(entry["design"]["hidden"])}
    return Recipe(**{**entry, "domains": tuple(entry["domains"]), "design": Design(**design)})
