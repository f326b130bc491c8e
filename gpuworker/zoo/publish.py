"""`modelshop zoo`: trains a catalog of models on a folder of labelled data and publishes it over REST, as any publisher would.

With --hold-out, one domain trains nothing; its samples are written without labels, to be dropped into a search whose right answer
is known.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gpuworker.seed.exports import as_pt2
from gpuworker.zoo.files import reading_options, write_samples
from gpuworker.zoo.reading import Samples, read_domain
from gpuworker.zoo.sources import Unusable
from gpuworker.zoo.splits import split
from gpuworker.zoo.store import default_folder, zoo
from gpuworker.zoo.tasks import Found, Task, discover
from gpuworker.zoo.train import Trained, encoded, log_probs
from modelshop.cli import add_server, require_token, say
from modelshop.client import Client, Publication
from modelshop.errors import BadUsage

SCENARIOS = {"activity": "activity", "images": "image", "text": "text", "nlp": "nlp", "matching": "em"}
MODELS = 12
MOST_SAMPLES = 500


def main(arguments: Sequence[str]) -> int:
    """Raises ClientError where the server refuses, or the folder holds nothing to train on."""
    options = _parser().parse_args(arguments)
    require_token(options)
    if not options.data.is_dir():
        raise BadUsage(f"{options.data} is no folder.", fix="Give the folder that holds activity/, image/, text/, nlp/ or em/ with --data.")
    tasks = _tasks(discover(options.data), options.scenario, options.task)
    if options.hold_out and len(tasks) > 1:
        raise BadUsage("--hold-out needs one task.", detail=f"Found {', '.join(task.name for task in tasks)}.", fix="Name one with --task.")
    with Client(options.url, options.token) as client:
        team = options.team or client.personal_team()
        for task in tasks:
            _publish_task(client, team, task, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="modelshop zoo", description="Train models on a folder of labelled data and publish them.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with activity/, image/, text/, nlp/ or em/")
    parser.add_argument("--scenario", choices=SCENARIOS, required=True, help="which of these folders")
    parser.add_argument("--task", default="", help="one of its tasks; default: all of them")
    parser.add_argument("--team", default="", help="slug of the team that gets the models; default: your own")
    parser.add_argument("--models", type=int, default=MODELS, help="of each task (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (%(default)s)")
    parser.add_argument("--hold-out", default="", metavar="DOMAIN", help="train nothing on this domain, and write its samples")
    parser.add_argument("--samples", type=Path, default=Path(), metavar="DIR", help="where held-out samples are written (here)")
    parser.add_argument("--curator-token", default="", metavar="TOKEN", help="of a curator, who approves what has passed its checks")
    add_server(parser)
    return parser


def _tasks(found: Found, scenario: str, name: str) -> list[Task]:
    tasks = [task for task in found.tasks if task.domains[0].source.path.parent.name == SCENARIOS[scenario]]
    chosen = [task for task in tasks if not name or task.name == name]
    if not chosen:
        known = ", ".join(task.name for task in tasks) or "none"
        raise BadUsage(f"There is no such task of {scenario}.", detail=f"Tasks found: {known}.", fix="Check --data and --task.")
    return chosen


def _publish_task(client: Client, team: str, task: Task, options: argparse.Namespace) -> None:
    """Train, write the files of one model after the other, and publish each; the checks run meanwhile."""
    held, task = _held_out(task, options.hold_out)
    say(f"{task.name}: reading {len(task.domains)} domains of {len(task.labels)} labels")
    domains = _read(task)
    rows = split(domains, options.seed)
    say(f"{task.name}: training {options.models} models")
    trained = zoo(default_folder(), task, options.seed, domains, rows, options.models)
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for place, model in enumerate(trained, start=1):
            what = publication(task, place, model, domains, Path(folder), team)
            made.append((what.name, client.publish(what)["number"]))
            say(f"  {what.name}: {what.title}")
    for name, number in made:
        client.wait(name, number)
    if options.curator_token:
        _approve(options, made)
    say(f"{task.name}: {len(made)} models are {'published' if options.curator_token else 'checked and wait for a review'}")
    if held is not None:
        _write_held_out(held, trained, options.samples)


def _approve(options: argparse.Namespace, made: Sequence[tuple[str, int]]) -> None:
    with Client(options.url, options.curator_token) as curator:
        for name, number in made:
            curator.post(f"/api/models/{name}/versions/{number}/reviews/", {"decision": "approve", "reason": ""})


def _held_out(task: Task, name: str) -> tuple[Task | None, Task]:
    """The held-out domain as a task of its own, and the task without it."""
    if not name:
        return None, task
    gone = tuple(domain for domain in task.domains if domain.name == name)
    rest = tuple(domain for domain in task.domains if domain.name != name)
    if not gone or not rest:
        known = ", ".join(domain.name for domain in task.domains)
        raise BadUsage(f"{task.name} has no domain {name} to hold out.", detail=f"Its domains are {known}.", fix="Name one of these.")
    return replace(task, domains=gone), replace(task, domains=rest)


def _read(task: Task) -> list[Samples]:
    try:
        return [read_domain(task, domain) for domain in task.domains]
    except (Unusable, OSError) as error:
        raise BadUsage(f"A file of {task.name} cannot be used.", detail=str(error), fix="Mend or remove it.") from error


def publication(task: Task, place: int, model: Trained, domains: Sequence[Samples], folder: Path, team: str) -> Publication:
    """One model as files in `folder`: a torch.export archive and a labelled reference sample whose slice goes into the probe set."""
    name = _slug(f"{task.name}-{place:02d}")
    archive = folder / f"{name}.pt2"
    archive.write_bytes(as_pt2(model.module, torch.zeros(4, *model.shape)))
    parts = enumerate(_reference(model, domains), start=1)
    reference = [write_samples(folder / f"{name}-reference-{part}", some.batch, some.labels, task.labels) for part, some in parts]
    facts = dict(model.facts)
    return Publication(
        name=f"{team}/{name}",
        files=[archive],
        spec=model.spec.to_json(),
        reference=reference,
        reference_options=reading_options(task.modality, labelled=True),
        probes=True,
        title=f"{task.name} {place}: {facts['architecture']} on {' and '.join(facts['domains'])}"[:140],
        task=task.name,
        comment=json.dumps(facts),
        submit=True,
    )


def _reference(model: Trained, domains: Sequence[Samples]) -> list[Samples]:
    """The model's own reference rows, by domain. Pairs of different attributes do not fit in one sample: the larger part stands alone."""
    parts = [domains[d].of(np.sort(model.reference[model.reference[:, 0] == d, 1])) for d in np.unique(model.reference[:, 0])]
    if len({tuple(part.batch.meta.get("attributes", ())) for part in parts}) > 1:
        return [max(parts, key=lambda part: part.batch.n)]
    return parts


def _write_held_out(held: Task, trained: Sequence[Trained], folder: Path) -> None:
    """The domain's test rows without labels, and how good every model really is on them."""
    samples = _read(held)[0]
    rows = np.random.default_rng(0).permutation(np.flatnonzero(samples.test))[:MOST_SAMPLES]
    chosen = samples.of(np.sort(rows))
    path = write_samples(folder / _slug(held.domains[0].name), chosen.batch)
    say(f"{path}: {chosen.batch.n} samples without labels of {dict(Counter(held.labels[label] for label in chosen.labels.tolist()))}")
    for place, model in enumerate(trained, start=1):
        answers = log_probs(model, encoded(held.modality, chosen.batch, model.recipe.design.input)).argmax(1)
        say(f"  {_slug(f'{held.name}-{place:02d}')} is right on {np.mean(answers == chosen.labels):.1%} of them")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
