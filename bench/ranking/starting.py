"""The calibration table that a catalog starts with, before it has publishers of its own to be checked on: errors on whole zoos' targets."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.ranking.episodes import MAIN_SIZE, Episode, episodes
from bench.ranking.loading import Job, load
from gpuworker.core.errors import UserError
from gpuworker.core.probes import settle
from gpuworker.core.probes.calibration import LEVELS
from gpuworker.core.ranking.calibrate import Errors, errors_of, measured
from gpuworker.core.scorers.anchor import judge, why_not
from gpuworker.core.scorers.answers import ballots
from gpuworker.zoo.sources import Unusable

Table = list[dict[str, float | str]]


def starting(cache: Path, found: Sequence[Job], seeds: Sequence[int]) -> Table:
    """One line for each of every, leaders and pairs: quantiles at LEVELS over unseen targets, natural and shifted; tasks count alike.

    Choose seeds that are not scored.
    """
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    names: list[str] = []
    errors: list[Errors] = []
    for job in found:
        for seed in seeds:
            try:
                pool, scored, _ = load(cache, job, seed)
            except (Unusable, UserError):
                continue
            told = list(errors_on(episodes(pool, scored, seed, ("unseen",), sizes=(MAIN_SIZE,))))
            errors += told
            names += [job.task.name] * len(told)
            print(f"{job.task.name}, seed {seed}: {len(told)} targets", flush=True)
    each = Counter(names)
    tables = measured(errors, [1 / each[name] for name in names])
    return [
        {"table": name, **{f"{level:g}": round(float(value), 3) for level, value in zip(LEVELS, table, strict=True)}}
        for name, table in zip(("every", "leaders", "pairs"), tables, strict=True)
    ]


def errors_on(found: Iterable[Episode]) -> Iterable[Errors]:
    """What ANCHOR got wrong on each episode, over its scale."""
    for episode in found:
        vicinity, votes = settle(episode.target).vicinity, ballots(episode.candidates)
        if vicinity is not None and votes is not None and not why_not(vicinity):
            yield errors_of(judge(vicinity, episode.candidates, votes), episode.truth, 0, vicinity.distance)
