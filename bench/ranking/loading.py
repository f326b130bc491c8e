"""Tasks of one or two folders and their arrays, for the bench and for work on scorers (`examples`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.ranking.arrays import Pool, Scored, arrays
from bench.ranking.episodes import MAIN_SIZE, Episode, Kind, Mode, episodes
from gpuworker.zoo import store
from gpuworker.zoo.recipes import MODELS
from gpuworker.zoo.tasks import Domain, Skipped, Task, discover, joined


@dataclass(frozen=True, slots=True)
class Job:
    """A task and its target domains in another folder; none: its own domains are the targets."""

    task: Task
    targets: tuple[Domain, ...] = ()


def jobs(data: Path, targets: Path | None = None, names: Sequence[str] = ()) -> tuple[list[Job], list[Skipped]]:
    """The tasks of `data`, all or those named, and what was left out. With `targets`, only tasks that a domain there can join."""
    found = discover(data)
    tasks = [task for task in found.tasks if not names or task.name in names]
    skipped = list(found.skipped)
    if targets is None:
        return [Job(task) for task in tasks], skipped
    others = discover(targets, least=1)
    pairs = [Job(task, tuple(joined(task, found.tasks, others.tasks))) for task in tasks]
    skipped += [Skipped(job.task.name, "no target domain has its labels") for job in pairs if not job.targets]
    used = {domain.name for job in pairs for domain in job.targets}
    lost = [domain for task in others.tasks for domain in task.domains if domain.name not in used]
    return [job for job in pairs if job.targets], skipped + [*others.skipped, *[Skipped(d.name, "no task has its labels") for d in lost]]


def load(cache: Path, job: Job, seed: int, models: int = MODELS) -> tuple[Pool, list[Scored], list[Skipped]]:
    """The arrays of a job; trains what is not in the cache."""
    return arrays(cache, job.task, seed, job.targets, models)


def examples(
    data: Path,
    seeds: Sequence[int],
    *,
    tasks: Sequence[str] = (),
    modes: Sequence[Mode] = ("unseen",),
    kinds: Sequence[Kind] = ("natural", "shifted"),
    sizes: Sequence[int] = (MAIN_SIZE,),
    cache: Path | None = None,
) -> Iterator[Episode]:
    """Episodes of development seeds, task by task. Choose seeds that are not scored."""
    for job in jobs(data, names=tasks)[0]:
        for seed in seeds:
            pool, scored, _ = load(cache or store.default_folder(), job, seed)
            yield from episodes(pool, scored, seed, modes, kinds, sizes)
