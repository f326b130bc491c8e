"""Running the protocol on one task and seed: every episode, every method, and where asked for the traps and the price of labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.ranking.aggregate import Row
from bench.ranking.arrays import Pool, Scored
from bench.ranking.episodes import MAIN_SIZE, SIZES, Episode, Kind, Mode, episodes
from bench.ranking.labels import BUDGETS, label_figures, label_scores
from bench.ranking.loading import Job, load
from bench.ranking.methods import ADAPTIVITY, BOARD, BOARD_F1, RANDOM, Ranking, rankings
from bench.ranking.metrics import figures, interval_figures, mean_error
from bench.ranking.replay import replayed
from bench.ranking.traps import TRAPS, trapped
from gpuworker.core.errors import UserError
from gpuworker.core.probes.calibration import UNCALIBRATED, Calibration
from gpuworker.core.ranking.calibrate import calibrate
from gpuworker.zoo.recipes import MODELS
from gpuworker.zoo.sources import Unusable
from gpuworker.zoo.tasks import Skipped

TRAP_TARGETS = 3
CLEAN, FEW_SAMPLES, LABEL_SHIFT = "clean", "few_samples", "label_shift"
RACE, LABELS = "race", "labels"
"""Rows that stand apart from the ranking of whole catalogs, beside those of TRAPS."""
NARROW = ("anchor", "a_only", "jsd_hist", "source_accuracy", "dawid_skene", "majority_vote", BOARD, RANDOM, ADAPTIVITY)
"""Methods that also run on seen domains, on other numbers of samples and in traps."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run on every task and seed. models: in each zoo. most_targets: domains of a task that play the target."""

    modes: tuple[Mode, ...] = ("unseen", "seen")
    kinds: tuple[Kind, ...] = ("natural", "shifted")
    sizes: tuple[int, ...] = SIZES
    traps: bool = True
    labels: bool = True
    models: int = MODELS
    most_targets: int = 1_000


QUICK = Plan(modes=("unseen",), sizes=(MAIN_SIZE,), traps=False, labels=False, models=24, most_targets=3)


@dataclass(frozen=True, slots=True)
class Outcome:
    """rows: figures of all episodes. skipped: target domains that do not fit. domains: that played."""

    task: str
    seed: int
    modality: str
    domains: tuple[str, ...]
    models: int
    probes: int
    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]


def run_job(cache: Path, job: Job, seed: int, plan: Plan) -> Outcome:
    """Trains what is not in the cache, then ranks."""
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    try:
        pool, scored, skipped = load(cache, job, seed, plan.models)
    except (Unusable, UserError) as error:
        return Outcome(job.task.name, seed, job.task.modality, (), 0, 0, (), (Skipped(job.task.name, str(error)),))
    played = scored[: plan.most_targets]
    rows: list[Row] = []
    calibrations: dict[bytes, Calibration] = {}
    for episode in main_episodes(pool, played, seed, plan):
        about = episode.about
        catalog = about.probes.tobytes() + np.sort(about.models).tobytes()
        if catalog not in calibrations:
            calibrations[catalog] = calibrated(episode)
        rows += rows_of(episode, calibration=calibrations[catalog])
        if about.mode == "unseen" and about.size >= MAIN_SIZE:
            rows.append(_row(episode, RACE, replayed(episode, calibrations[catalog]), RACE))
    if plan.traps:
        rows += list(_trap_rows(pool, played, seed))
    if plan.labels:
        rows += [row for episode in episodes(pool, played, seed, ("unseen",), plan.kinds) for row in _label_rows(episode)]
    names = tuple(target.name for target in played)
    return Outcome(job.task.name, seed, pool.modality, names, len(pool.sources), len(pool.label), tuple(rows), tuple(skipped))


def main_episodes(pool: Pool, scored: Sequence[Scored], seed: int, plan: Plan) -> Iterator[Episode]:
    """All modes and kinds at the main size; other sizes for natural targets that no model has seen."""
    yield from episodes(pool, scored, seed, plan.modes, plan.kinds)
    others = [size for size in plan.sizes if size != MAIN_SIZE]
    yield from episodes(pool, scored, seed, ("unseen",), ("natural",), others)


def calibrated(episode: Episode) -> Calibration:
    """The table that the catalog of an episode would store: made from probes and the models' answers to them alone."""
    probes = episode.target.probes
    return UNCALIBRATED if probes is None else calibrate(probes, episode.candidates)


def rows_of(episode: Episode, trap: str = "", calibration: Calibration = UNCALIBRATED) -> list[Row]:
    """One row per method; all of them for unseen targets at the main size outside traps."""
    about = episode.about
    whole = about.size == MAIN_SIZE and about.mode == "unseen" and not trap
    found = rankings(episode, None if whole else NARROW, calibration)
    measured = {key: _figures(key, ranking, episode) for key, ranking in found.items()}
    if episode.f1 is not None and episode.always is not None:
        measured["always_a_match"] = {"f1.regret1": float(episode.f1.max() - episode.always), "f1.tau": 0.0}
    return [_row(episode, key, numbers, trap) for key, numbers in measured.items()]


def _figures(key: str, ranking: Ranking, episode: Episode) -> dict[str, float]:
    if key == BOARD_F1 and episode.f1 is not None:
        return _f1_figures(ranking, episode.f1)
    if not ranking.told and np.isnan(ranking.scores).all():
        return {}
    found = figures(ranking.scores, episode.truth)
    found |= {"told": ranking.told, "milliseconds": ranking.milliseconds, "passes": len(episode.truth) * ranking.forward}
    if len(ranking.values) and (error := mean_error(ranking.values, episode.truth)) is not None:
        found["mae"] = error
    if len(ranking.low):
        found |= interval_figures(ranking.low, ranking.high, ranking.values, episode.truth)
    if episode.f1 is not None:
        found |= _f1_figures(ranking, episode.f1)
    return found


def _f1_figures(ranking: Ranking, f1: NDArray[np.float64]) -> dict[str, float]:
    return {f"f1.{name}": value for name, value in figures(ranking.scores, f1).items() if name in ("regret1", "tau")}


def _trap_rows(pool: Pool, scored: Sequence[Scored], seed: int) -> Iterator[Row]:
    """Natural unseen targets, a few of each task, other ones for other seeds."""
    turn = np.random.default_rng(seed).permutation(len(scored))[:TRAP_TARGETS]
    for target in [scored[int(place)] for place in turn]:
        for episode in episodes(pool, [target], seed, ("unseen",), ("natural",)):
            yield from rows_of(episode, CLEAN)
            for trap in TRAPS:
                yield from rows_of(trapped(trap, episode, pool, target), trap)
        for episode in episodes(pool, [target], seed, ("unseen",), ("natural",), SIZES[:1]):
            yield from rows_of(episode, FEW_SAMPLES)
        for episode in episodes(pool, [target], seed, ("unseen",), ("shifted",)):
            yield from rows_of(episode, LABEL_SHIFT)


def _label_rows(episode: Episode) -> Iterator[Row]:
    """One row for each method and number of labels, its figures the mean over draws."""
    found: dict[str, list[Mapping[int, NDArray[np.float64]]]] = {}
    for method, _, scores in label_scores(episode):
        found.setdefault(method, []).append(scores)
    for method, draws in found.items():
        for budget in BUDGETS:
            yield _row(episode, method, label_figures(draws, episode.truth, budget, figures), LABELS, budget)


def _row(episode: Episode, method: str, numbers: Mapping[str, float], trap: str, size: int | None = None) -> Row:
    about = episode.about
    return Row(
        about.task, about.seed, about.target, about.mode, about.kind, about.n, about.size if size is None else size, method, numbers, trap
    )
