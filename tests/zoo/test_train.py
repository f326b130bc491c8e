"""Models of a zoo: they learn, they are kept, and each could be published as it is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gpuworker.core.formats import read_model
from gpuworker.core.program.execute import run_batched
from gpuworker.seed.exports import as_pt2
from gpuworker.zoo import store
from gpuworker.zoo.reading import Samples, read_domain
from gpuworker.zoo.recipes import Recipe, designs, draw
from gpuworker.zoo.splits import Rows, split
from gpuworker.zoo.tasks import Task, discover
from gpuworker.zoo.train import Inputs, Trained, encoded, log_probs, train

Loaded = tuple[Task, list[Samples], list[Rows]]


@pytest.fixture(scope="module", params=["shapes", "steps_wrist", "notes", "em"])
def loaded(request: pytest.FixtureRequest, data: Path) -> Loaded:
    task = next(task for task in discover(data).tasks if task.name == request.param)
    domains = [read_domain(task, domain) for domain in task.domains]
    return task, domains, split(domains, 1)


def accuracy(model: Trained, loaded: Loaded, inputs: Inputs, domain: int) -> float:
    _, domains, rows = loaded
    scored = rows[domain].score
    answers = log_probs(model, inputs(domain, model.recipe.design.input)[scored]).argmax(1)
    return float((answers == domains[domain].labels[scored]).mean())


def plain(task: Task, domains: Sequence[Samples]) -> list[Recipe]:
    """One recipe per architecture: all rows of the first domain, right labels."""
    return [
        Recipe((0,), design, share=1.0, epochs=30, weight_decay=0.0, noise=0.0, imbalance="none", seed=4)
        for design in designs(task, domains[0].batch)
    ]


def test_every_architecture_learns_and_can_be_published(loaded: Loaded) -> None:
    task, domains, rows = loaded
    inputs = Inputs(task.modality, [samples.batch for samples in domains])
    scores = []
    for recipe in plain(task, domains):
        model = train(task, recipe, domains, rows, inputs)
        scores.append(accuracy(model, loaded, inputs, 0))
        scored = encoded(task.modality, domains[0].batch, model.spec.input)[rows[0].score[:5]]
        content = as_pt2(model.module, torch.from_numpy(scored[:4]))
        read = read_model("pt2", {"model.pt2": io.BytesIO(content)})
        name = read.program.inputs[0].name
        published = next(iter(run_batched(read.program, read.tensors, {name: torch.from_numpy(scored)}, 5).values()))
        expected = log_probs(model, inputs(0, recipe.design.input)[rows[0].score[:5]])
        assert np.allclose(torch.log_softmax(published.float(), 1).numpy(), expected, atol=1e-3)
    assert max(scores) > 0.85
    assert np.mean([score > 0.6 for score in scores]) > 0.6


def test_a_recipe_always_gives_the_same_model(loaded: Loaded) -> None:
    task, domains, rows = loaded
    inputs = Inputs(task.modality, [samples.batch for samples in domains])
    recipe = replace(draw(task, domains[0].batch, 3, 6)[0], epochs=3)
    one, other = (train(task, recipe, domains, rows, inputs) for _ in range(2))
    assert all(torch.equal(one.module.state_dict()[name], tensor) for name, tensor in other.module.state_dict().items())
    assert (one.reference == other.reference).all()


def test_a_reference_sample_comes_from_the_reference_rows_of_its_domains(loaded: Loaded) -> None:
    task, domains, rows = loaded
    inputs = Inputs(task.modality, [samples.batch for samples in domains])
    pair = replace(plain(task, domains)[0], domains=(0, 1), epochs=1, imbalance="skewed")
    model = train(task, pair, domains, rows, inputs)
    assert set(model.reference[:, 0].tolist()) <= {0, 1}
    assert all(row in rows[domain].reference for domain, row in model.reference.tolist())
    assert model.facts["domains"] == [task.domains[0].name, task.domains[1].name]


def test_recipes_differ_by_seed_and_cover_every_domain(loaded: Loaded) -> None:
    task, domains, _ = loaded
    first, again, other = (draw(task, domains[0].batch, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert {recipe.domains[0] for recipe in first if len(recipe.domains) == 1} == set(range(len(domains)))
    assert any(len(recipe.domains) == 2 for recipe in first)
    assert len(first) == 48


def test_a_zoo_is_kept_and_read_back(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = next(task for task in discover(data).tasks if task.name == "notes")
    domains = [read_domain(task, domain) for domain in task.domains]
    rows = split(domains, 1)
    made = store.zoo(tmp_path, task, 1, domains, rows, models=4)
    monkeypatch.setattr(store, "train_zoo", None)  # a second training would fail
    read = store.zoo(tmp_path, task, 1, domains, rows, models=4)
    inputs = Inputs(task.modality, [samples.batch for samples in domains])
    for one, other in zip(made, read, strict=True):
        raw = inputs(1, one.recipe.design.input)
        assert (log_probs(one, raw) == log_probs(other, raw)).all()
        assert one.spec == other.spec and one.recipe == other.recipe and (one.reference == other.reference).all()
    assert store.zoo_key(task, 1, 4) != store.zoo_key(task, 2, 4)
