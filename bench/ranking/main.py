"""How well models are ranked without labels, on tasks found in a folder of data.

    ./dev bench ranking --data FOLDER [--targets FOLDER2] [--seeds 0,1,2] --out FILE

A zoo of small networks is trained for every task and seed (kept in a cache); every domain then plays the target whose models and probes
are hidden, and every scorer of the product ranks the rest through the product's own functions. --targets takes the target domains from
another folder, joined by equal label names.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.ranking.bars import bars
from bench.ranking.loading import Job, jobs, load
from bench.ranking.report import Figures, figures, prior_figure, tables
from bench.ranking.run import QUICK, Outcome, Plan, run_job
from bench.ranking.speed import prior_times
from bench.ranking.starting import starting
from bench.report import write_report
from gpuworker.core.errors import UserError
from gpuworker.zoo.sources import Unusable
from gpuworker.zoo.store import default_folder
from gpuworker.zoo.tasks import Skipped

SEEDS = "0,1,2"
PROCESSES = 2
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="./dev bench ranking", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--data", type=Path, required=True, help="folder of labelled data: activity/ image/ text/ nlp/ em/")
    found.add_argument("--targets", type=Path, help="another such folder: targets come from it, zoos and probes from --data")
    found.add_argument("--seeds", default=SEEDS, help=f"comma-separated, one zoo each (default {SEEDS}; --quick: the first)")
    found.add_argument("--tasks", default="", help="comma-separated names; default: all that are found")
    found.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    found.add_argument("--cache", type=Path, default=default_folder(), help="trained zoos are kept here (default %(default)s)")
    found.add_argument("--quick", action="store_true", help="one seed, small zoos, three targets per task: minutes, and rough figures")
    found.add_argument("--traps", action="store_true", help="hostile and broken catalogs, also with --quick")
    found.add_argument("--labels", action="store_true", help="what a few labels of the samples are worth, also with --quick")
    found.add_argument(
        "--starting", action="store_true", help="measure only the calibration table that a catalog starts with (seeds that are not scored)"
    )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    plan = replace(QUICK, traps=options.traps, labels=options.labels) if options.quick else Plan()
    found, skipped = jobs(options.data, options.targets, [name for name in options.tasks.split(",") if name])
    for entry in skipped:
        print(f"left out  {entry.name}: {entry.reason}", flush=True)
    if not found:
        print("No task was found.", flush=True)
        return 1
    if options.starting:
        table: dict[str, list[dict[str, Any]]] = {"starting table": list(starting(options.cache, found, seeds))}
        write_report(options.out, "ranking-starting", {}, table)
        _print_tables(table)
        return 0
    seeds = seeds[:1] if options.quick else seeds
    done: dict[tuple[str, int], Outcome] = {}
    for outcome in run_all(options.cache, found, seeds, plan):
        done[outcome.task, outcome.seed] = outcome
        # Written anew after each: a run that is cut off leaves a report of what it finished.
        figure, table = report([done[key] for key in sorted(done)], skipped)
        write_report(options.out, "ranking", figure, table)
    figure |= prior_figure(_prior_times(options.cache, found, seeds[0], plan))
    table["bars"] = bars(figure)
    write_report(options.out, "ranking", figure, table)
    _print_tables(table)
    for name, value in figure.items():
        print(f"{name:40} {value}")
    return 0


def report(outcomes: Sequence[Outcome], skipped: Sequence[Skipped]) -> tuple[Figures, dict[str, list[dict[str, Any]]]]:
    rows = [row for outcome in outcomes for row in outcome.rows]
    refused = [entry for outcome in outcomes for entry in outcome.skipped]
    left_out = [asdict(entry) for entry in dict.fromkeys([*skipped, *refused])]
    figure = figures(rows)
    return figure, {"bars": bars(figure), **tables(outcomes, left_out)}


def run_all(cache: Path, found: Sequence[Job], seeds: Sequence[int], plan: Plan, processes: int = PROCESSES) -> Iterator[Outcome]:
    """Tasks and seeds in processes of one thread each, all tasks of a seed before the next, the largest first; as they finish."""
    for name in THREADS:
        os.environ.setdefault(name, "1")
    work = sorted(((seed, job) for job in found for seed in seeds), key=lambda pair: (seeds.index(pair[0]), -len(pair[1].task.domains)))
    started = time.monotonic()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(run_job, cache, job, seed, plan) for seed, job in work]
        for number, future in enumerate(as_completed(running), start=1):
            outcome = future.result()
            print(f"{time.monotonic() - started:6.0f} s  {outcome.task}, seed {outcome.seed}: {number} of {len(work)}", flush=True)
            yield outcome


def _prior_times(cache: Path, found: Sequence[Job], seed: int, plan: Plan) -> list[float]:
    """On the first task that could be used, when nothing else of this run is running."""
    for job in found:
        try:
            pool, scored, _ = load(cache, job, seed, plan.models)
        except (Unusable, UserError):
            continue
        if scored:
            return prior_times(pool, scored[0], seed)
    return []


def _print_tables(table: Mapping[str, list[dict[str, Any]]]) -> None:
    for name in ("starting table", "methods", "regret1 by task", "tau by task", "intervals", "traps", "race", "labels", "bars"):
        rows = table.get(name, [])
        if rows:
            columns = list(dict.fromkeys(key for row in rows for key in row))
            print(f"\n{name}")
            print(" ".join(f"{column[:18]:>18}" for column in columns))
            for row in rows:
                print(" ".join(f"{'' if row.get(column) is None else row[column]!s:>18}" for column in columns))
    print()
