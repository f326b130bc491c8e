"""The arrays of one task and seed: what a catalog would store of its models, and what they say about every domain's score rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from gpuworker.core import signatures
from gpuworker.core.errors import UserError
from gpuworker.core.modalities import MODALITY_IMPLEMENTATIONS, VALUES, WORDS
from gpuworker.core.modalities.batches import dump_batch, load_batch, row_digests, take
from gpuworker.core.protocols import SampleBatch
from gpuworker.zoo import store
from gpuworker.zoo.reading import MOST_TEST, Samples, aligned, content_key, read_domain
from gpuworker.zoo.recipes import MODELS
from gpuworker.zoo.sources import Unusable
from gpuworker.zoo.splits import Overlap, Rows, split
from gpuworker.zoo.tasks import Domain, Skipped, Task
from gpuworker.zoo.train import Inputs, Trained, log_probs

VERSION = "arrays/2"
HALF = np.float16


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """R labelled reference rows of all domains and what M models say about them.

    domain, label: (R,) int64. features: (R, D) float32. log_probs: (M, R, C) float16. sources: domain numbers of each model;
    references: its own reference rows, numbers into the pool; signatures: its behaviour signature.
    """

    task: str
    modality: str
    labels: tuple[str, ...]
    domains: tuple[str, ...]
    domain: NDArray[np.int64]
    label: NDArray[np.int64]
    features: NDArray[np.float32]
    log_probs: NDArray[np.float16]
    sources: tuple[tuple[int, ...], ...]
    references: tuple[NDArray[np.int64], ...]
    signatures: tuple[dict[str, NDArray[Any]], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """T score rows of one domain. number: its place among the pool's domains, None for a domain of another folder.

    labels: (T,) int64. features: (T, D) float32. log_probs: (M, T, C) float16. values: raw numbers (T, ...) or None; words: or None.
    """

    name: str
    number: int | None
    labels: NDArray[np.int64]
    features: NDArray[np.float32]
    log_probs: NDArray[np.float16]
    values: NDArray[Any] | None
    words: list[list[str]] | None


def arrays(
    folder: Path, task: Task, seed: int, targets: Sequence[Domain] = (), models: int = MODELS
) -> tuple[Pool, list[Scored], list[Skipped]]:
    """The pool and the score rows of every domain, or of `targets` of another folder; from the cache where they are there."""
    pool_path = folder / f"{task.name}-{seed}-{_key(task, seed, models)}.pool"
    wanted = list(targets or task.domains)
    paths = [pool_path.with_suffix(f".{_digest(_target_key(task, domain))}.score") for domain in wanted]
    refusals = [path.with_suffix(".refused") for path in paths]
    if not pool_path.exists() or not all(path.exists() or no.exists() for path, no in zip(paths, refusals, strict=True)):
        _make(folder, task, seed, models, pool_path, list(zip(wanted, paths, refusals, strict=True)))
    pool = _read_pool(pool_path, _signatures(pool_path))
    numbers = {name: place for place, name in enumerate(pool.domains)}
    scored, skipped = [], []
    for domain, path, refusal in zip(wanted, paths, refusals, strict=True):
        if path.exists():
            scored.append(_read_scored(path, domain.name, numbers.get(domain.name), pool.modality))
        else:
            skipped.append(Skipped(domain.name, refusal.read_text()))
    return pool, scored, skipped


def _key(task: Task, seed: int, models: int) -> str:
    made_by = [VERSION, store.zoo_key(task, seed, models), MODALITY_IMPLEMENTATIONS[task.modality].FEATURES_VERSION]
    return _digest("|".join(made_by))


def _target_key(task: Task, domain: Domain) -> str:
    own = domain in task.domains
    return f"{domain.name}|{own}|{'' if own else content_key(Task(task.name, task.modality, task.labels, (domain,)))}"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _make(folder: Path, task: Task, seed: int, models: int, pool_path: Path, targets: Sequence[tuple[Domain, Path, Path]]) -> None:
    torch.set_num_threads(1)
    samples = [read_domain(task, domain) for domain in task.domains]
    rows = split(samples, seed)
    zoo = store.zoo(folder, task, seed, samples, rows, models)
    inputs = Inputs(task.modality, [part.batch for part in samples])
    _write(pool_path, *_pool(task, samples, rows, zoo, inputs))
    known = {
        digest
        for part, own in zip(samples, rows, strict=True)
        for digest in row_digests(take(part.batch, np.append(own.train, own.reference)))
    }
    places = {domain.name: place for place, domain in enumerate(task.domains)}
    for domain, path, refusal in targets:
        if domain in task.domains:
            place = places[domain.name]
            _write_scored(path, task, samples[place], rows[place].score, zoo, known, [inputs(place, m.recipe.design.input) for m in zoo])
            continue
        try:
            found = aligned(read_domain(task, domain), samples[0].batch)
            encode = Inputs(task.modality, [found.batch])
            fresh = [row for row, digest in enumerate(row_digests(found.batch)) if digest not in known]
            chosen = np.sort(np.random.default_rng(0).permutation(np.array(fresh, np.int64))[:MOST_TEST])
            _write_scored(path, task, found, chosen, zoo, known, [encode(0, m.recipe.design.input) for m in zoo])
        except (UserError, Unusable) as error:
            reason = (error.detail or error.title) if isinstance(error, UserError) else str(error)
            store.replace_file(refusal, partial(Path.write_text, data=reason))


def _pool(
    task: Task, samples: Sequence[Samples], rows: Sequence[Rows], zoo: Sequence[Trained], inputs: Inputs
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    module = MODALITY_IMPLEMENTATIONS[task.modality]
    batches = [take(part.batch, own.reference) for part, own in zip(samples, rows, strict=True)]
    features = np.concatenate([module.features(batch) for batch in batches])
    labels = np.concatenate([part.labels[own.reference] for part, own in zip(samples, rows, strict=True)])
    domain = np.concatenate([np.full(len(own.reference), place) for place, own in enumerate(rows)])
    start = np.cumsum([0, *[len(own.reference) for own in rows]])
    answers, table = [], {"domain": domain, "label": labels, "features": features}
    table |= {f"batch.{place}": np.frombuffer(dump_batch(batch), np.uint8) for place, batch in enumerate(batches)}
    for number, model in enumerate(zoo):
        answer = np.concatenate([log_probs(model, inputs(d, model.recipe.design.input)[own.reference]) for d, own in enumerate(rows)])
        table[f"reference.{number}"] = np.array(
            [start[d] + np.searchsorted(rows[d].reference, row) for d, row in model.reference.tolist()], np.int64
        )
        answers.append(answer.astype(HALF))
    table["log_probs"] = np.stack(answers)
    head = {
        "task": task.name,
        "modality": task.modality,
        "labels": task.labels,
        "domains": [domain.name for domain in task.domains],
        "sources": [model.recipe.domains for model in zoo],
    }
    return table, head


def _content(modality: str, batches: Sequence[SampleBatch]) -> tuple[NDArray[Any] | None, list[list[str]] | None]:
    """Raw values and words of all batches, one after the other; raw values only where all domains have one shape."""
    values = [VALUES[modality](batch) for batch in batches] if modality in VALUES else []
    words = [row for batch in batches for row in WORDS[modality](batch)] if modality in WORDS else None
    return np.concatenate(values) if values and len({part.shape[1:] for part in values}) == 1 else None, words


def _write_scored(
    path: Path,
    task: Task,
    samples: Samples,
    rows: NDArray[np.int64],
    zoo: Sequence[Trained],
    known: set[bytes],
    inputs: Sequence[NDArray[np.float32]],
) -> None:
    batch = take(samples.batch, rows)
    if not known.isdisjoint(row_digests(batch)):
        raise Overlap(f"score rows of {task.name} were trained on or are probes")
    answers = np.stack([log_probs(model, part[rows]).astype(HALF) for model, part in zip(zoo, inputs, strict=True)])
    features = MODALITY_IMPLEMENTATIONS[task.modality].features(batch)
    table = {
        "labels": samples.labels[rows],
        "features": features,
        "log_probs": answers,
        "batch": np.frombuffer(dump_batch(batch), np.uint8),
    }
    _write(path, table, {})


def _write(path: Path, table: dict[str, NDArray[Any]], head: dict[str, Any]) -> None:
    whole = {name: np.ascontiguousarray(array) for name, array in table.items()}
    store.replace_file(path, lambda place: safetensors.numpy.save_file(whole, place, {"head": json.dumps(head)}))


def _signatures(pool_path: Path) -> dict[str, NDArray[Any]]:
    """The behaviour signatures of all models as "<model>.<part>" -> array: made once for each recipe of signatures."""
    path = pool_path.with_suffix(f".{signatures.recipe_hash()}.signatures")
    if not path.exists():
        head, table = _read(pool_path)
        domains = range(len(head["domains"]))
        values, words = _content(head["modality"], [load_batch(table[f"batch.{d}"].tobytes()) for d in domains])
        found: dict[str, NDArray[Any]] = {}
        for model in range(len(head["sources"])):
            picked = table[f"reference.{model}"]
            signature = signatures.compute(
                head["modality"],
                values=None if values is None else values[picked],
                words=None if words is None else [words[row] for row in picked],
                features=table["features"][picked],
                labels=table["label"][picked],
                n_labels=len(head["labels"]),
                log_probs=table["log_probs"][model][picked].astype(np.float32),
            )
            found |= {f"{model}.{name}": array for name, array in signature.items()}
        _write(path, found, {})
    return _read(path)[1]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    with safe_open(path, "numpy") as file:
        names = list(file.keys())
        return json.loads(file.metadata()["head"]), {name: file.get_tensor(name) for name in names}


def _read_pool(path: Path, signed: dict[str, NDArray[Any]]) -> Pool:
    head, table = _read(path)
    models = range(len(head["sources"]))
    return Pool(
        head["task"],
        head["modality"],
        tuple(head["labels"]),
        tuple(head["domains"]),
        table["domain"],
        table["label"],
        table["features"],
        table["log_probs"],
        tuple(tuple(source) for source in head["sources"]),
        tuple(table[f"reference.{m}"] for m in models),
        tuple(_part(signed, f"{m}.") for m in models),
    )


def _part(table: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in table.items() if name.startswith(prefix)}


def _read_scored(path: Path, name: str, number: int | None, modality: str) -> Scored:
    _, table = _read(path)
    values, words = _content(modality, [load_batch(table["batch"].tobytes())])
    return Scored(name, number, table["labels"], table["features"], table["log_probs"], values, words)
