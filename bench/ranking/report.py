"""From rows to the report: figures by their fixed names, and tables that a docs page shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from bench.ranking.aggregate import Mean, Row, by, difference, mean
from bench.ranking.episodes import MAIN_SIZE
from bench.ranking.methods import ADAPTIVITY, BOARD, method_names
from bench.ranking.run import CLEAN, FEW_SAMPLES, LABEL_SHIFT, LABELS, RACE, Outcome
from bench.ranking.traps import TRAPS

ANCHOR, A_ONLY, JSD, CONSENSUS = "anchor", "a_only", "jsd_hist", "dawid_skene"
SHOWN = ("regret1", "regret3", "regret5", "tau", "wtau", "spearman", "pearson", "mae", "worst_third", "told", "passes", "milliseconds")
NAMED = (
    (ANCHOR, "anchor", ("tau", "regret1", "mae")),
    (A_ONLY, "a_only", ("tau", "regret1")),
    (ADAPTIVITY, "adaptivity_tuned", ("regret1",)),
    (JSD, "jsd", ("regret1",)),
    (CONSENSUS, "dawid_skene", ("regret1",)),
)
PRODUCT, LABEL_FIGURES = "modelshop", (10, 20)
SET_OUT = (CLEAN, *TRAPS, FEW_SAMPLES, LABEL_SHIFT)
COVERAGE = ("coverage.all", "coverage.winner", "width.winner")

Figures = dict[str, float | int | str | None]
Table = list[dict[str, Any]]


def headline(rows: Iterable[Row]) -> list[Row]:
    """Targets that no model has seen, natural and shifted, at the main size: what the figures speak of."""
    return [row for row in rows if row.mode == "unseen" and row.size == MAIN_SIZE and not row.trap]


def prior_figure(milliseconds: Sequence[float]) -> Figures:
    """Times of the prior order over a very large catalog."""
    return {"prior100k_p95_ms": round(float(np.quantile(milliseconds, 0.95)), 2)} if milliseconds else {}


def figures(rows: Sequence[Row]) -> Figures:
    """All figures that rows tell, over all tasks and for each task."""
    found = _figures_of(rows)
    tasks = by(rows, lambda row: row.task)
    found["tasks"] = len(by(headline(rows), lambda row: row.task))
    for name, keys in (("", (ANCHOR, A_ONLY)), ("anchor.", (ANCHOR,)), ("a_only.", (A_ONLY,))):
        beaten = [all(_beats(headline(part), key, ADAPTIVITY) for key in keys) for part in tasks.values()]
        found[f"{name}tasks_beating_adaptivity"] = sum(beaten)
    for task, part in tasks.items():
        found |= {f"task.{task}.{name}": value for name, value in _figures_of(part).items()}
    return found


def _figures_of(rows: Sequence[Row]) -> Figures:
    methods = by(headline(rows), lambda row: row.method)
    found: Figures = {}
    for key, name, wanted in NAMED:
        for figure in wanted:
            _put(found, f"{name}.{figure}", mean(methods.get(key, []), figure))
    shifted = [row for row in methods.get(ANCHOR, []) if row.kind == "shifted"]
    _put(found, "labelshift.regret1", mean(shifted, "regret1"))
    for figure in COVERAGE:
        side, group = figure.split(".")
        _put(found, f"{side}90.{group}", mean(methods.get(BOARD, []), figure))
    _put(found, "race.best_dropped", mean((row for row in rows if row.trap == RACE), "best_dropped"))
    for budget in LABEL_FIGURES:
        labelled = (row for row in rows if row.trap == LABELS and row.method == PRODUCT and row.size == budget)
        _put(found, f"labels{budget}.regret1", mean(labelled, "regret1"))
    return found | _trap_figures(rows)


def _put(found: Figures, name: str, value: Mean | None) -> None:
    if value is not None:
        found[name] = round(value.value, 4)


def _beats(rows: Sequence[Row], one: str, other: str) -> bool:
    mine, theirs = (mean((row for row in rows if row.method == key), "regret1") for key in (one, other))
    return mine is not None and theirs is not None and mine.value < theirs.value


def _trap_figures(rows: Sequence[Row]) -> Figures:
    """The worst trap for the default order: its regret, and that over the regret without a trap."""
    set_out = by((row for row in rows if row.trap in SET_OUT and row.method == ANCHOR), lambda row: row.trap)
    means = {trap: found.value for trap, part in set_out.items() if (found := mean(part, "regret1")) is not None}
    if CLEAN not in means or len(means) < 2:
        return {}
    clean = means.pop(CLEAN)
    worst = max(means.values())
    return {"trap_worst.regret1": round(worst, 4), "trap_worst.ratio": round(worst / max(clean, 1e-3), 3)}


def tables(outcomes: Sequence[Outcome], skipped: Sequence[Mapping[str, str]]) -> dict[str, Table]:
    rows = [row for outcome in outcomes for row in outcome.rows]
    main = headline(rows)
    made = {
        "methods": _methods(main),
        "natural": _methods([row for row in main if row.kind == "natural"], ("regret1", "tau", "mae")),
        "shifted": _methods([row for row in main if row.kind == "shifted"], ("regret1", "tau", "mae")),
        "seen": _methods([row for row in rows if row.mode == "seen" and not row.trap], ("regret1", "tau", "mae")),
        "regret1 by task": _by_task(main, "regret1"),
        "tau by task": _by_task(main, "tau"),
        "intervals": _intervals(main),
        "samples": _grouped(
            [row for row in rows if row.kind == "natural" and row.mode == "unseen" and not row.trap], lambda r: str(r.size)
        ),
        "matching, by F1": _f1(main),
        "differences": _differences(main),
        "traps": _grouped([row for row in rows if row.trap in SET_OUT], lambda row: row.trap),
        "race": _race(rows),
        "labels": _grouped([row for row in rows if row.trap == LABELS], lambda row: str(row.size)),
        "tasks": _tasks(outcomes),
        "left out": [dict(entry) for entry in skipped],
    }
    return {name: table for name, table in made.items() if table}


def _methods(rows: Sequence[Row], shown: Sequence[str] = SHOWN) -> Table:
    table: Table = []
    for method, part in _ordered(rows):
        line: dict[str, Any] = {"method": method}
        for figure in shown:
            found = mean(part, figure)
            line[figure] = None if found is None else round(found.value, 1 if figure in ("passes", "milliseconds") else 3)
            if figure in ("regret1", "tau", "mae") and found is not None:
                line[f"{figure} ±"] = round(found.spread, 3)
        told = mean(part, "regret1")
        line["tasks"] = 0 if told is None else told.tasks
        table.append(line)
    return table


def _ordered(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    groups = by(rows, lambda row: row.method)
    names = [name for name in method_names() if name in groups]
    return [(name, groups[name]) for name in [*names, *(name for name in groups if name not in names)]]


def _by_task(rows: Sequence[Row], figure: str) -> Table:
    table: Table = []
    tasks = list(by(rows, lambda row: row.task))
    for method, part in _ordered(rows):
        of_task = by(part, lambda row: row.task)
        cells = {task: mean(of_task.get(task, []), figure) for task in tasks}
        table.append({"method": method, **{task: None if cell is None else round(cell.value, 3) for task, cell in cells.items()}})
    return table


def _intervals(rows: Sequence[Row]) -> Table:
    names = [f"{side}.{group}" for group in ("all", "winner", "top5") for side in ("coverage", "width")]
    table: Table = []
    for method, part in _ordered(rows):
        cells = {name: mean(part, name) for name in names}
        if cells["coverage.all"] is not None:
            table.append({"method": method, **{name: None if cell is None else round(cell.value, 3) for name, cell in cells.items()}})
    return table


def _grouped(rows: Sequence[Row], key: Any) -> Table:
    table: Table = []
    for name, group in by(rows, key).items():
        for method, part in _ordered(group):
            regret, tau = mean(part, "regret1"), mean(part, "tau")
            if regret is not None and tau is not None:
                table.append({"case": name, "method": method, "regret1": round(regret.value, 3), "tau": round(tau.value, 3)})
    return table


def _race(rows: Sequence[Row]) -> Table:
    table: Table = []
    for size, part in by((row for row in rows if row.trap == RACE), lambda row: str(row.size)).items():
        cells = {name: mean(part, name) for name in ("best_dropped", "lost", "left", "saved")}
        table.append({"samples": size, "races": len(part), **{name: None if c is None else round(c.value, 4) for name, c in cells.items()}})
    return table


def _f1(rows: Sequence[Row]) -> Table:
    table: Table = []
    for method, part in _ordered([row for row in rows if "f1.regret1" in row.figures]):
        for task, of_task in by(part, lambda row: row.task).items():
            regret, tau = mean(of_task, "f1.regret1"), mean(of_task, "f1.tau")
            if regret is not None and tau is not None:
                table.append({"task": task, "method": method, "regret1": round(regret.value, 3), "tau": round(tau.value, 3)})
    return table


def _differences(rows: Sequence[Row]) -> Table:
    """The default order against each other method: paired over episodes, intervals over target domains."""
    methods = [method for method, _ in _ordered(rows)]
    one = ANCHOR if ANCHOR in methods else BOARD
    table: Table = []
    for other in methods:
        for figure in ("regret1", "tau"):
            found = None if other == one else difference(rows, one, other, figure)
            if found is not None:
                value, low, high = (round(number, 3) for number in found)
                table.append({"method": one, "against": other, "figure": figure, "difference": value, "low": low, "high": high})
    return table


def _tasks(outcomes: Sequence[Outcome]) -> Table:
    table: Table = []
    for task in dict.fromkeys(outcome.task for outcome in outcomes):
        parts = [outcome for outcome in outcomes if outcome.task == task]
        rows = headline(row for outcome in parts for row in outcome.rows)
        episodes = {(row.seed, row.target, row.kind) for row in rows}
        table.append(
            {
                "task": task,
                "modality": parts[0].modality,
                "domains": len(parts[0].domains),
                "models": parts[0].models,
                "probe rows": round(fmean(outcome.probes for outcome in parts)),
                "episodes": len(episodes),
            }
        )
    return table
