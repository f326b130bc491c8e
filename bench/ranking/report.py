"""From rows to the report: figures by their fixed names, and tables that a docs page shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.ranking.aggregate import Mean, Row, by, difference, mean
from bench.ranking.episodes import MAIN_SIZE
from bench.ranking.methods import ADAPTIVITY, BOARD, method_names
from bench.ranking.run import CLEAN, Outcome

ANCHOR, A_ONLY, JSD, CONSENSUS = "anchor", "a_only", "jsd_hist", "dawid_skene"
SHOWN = ("regret1", "regret3", "regret5", "tau", "wtau", "spearman", "pearson", "mae", "worst_third", "told", "passes", "milliseconds")
NAMED = (
    (ANCHOR, "anchor", ("tau", "regret1", "mae")),
    (A_ONLY, "a_only", ("tau", "regret1")),
    (ADAPTIVITY, "adaptivity_tuned", ("regret1",)),
    (JSD, "jsd", ("regret1",)),
    (CONSENSUS, "dawid_skene", ("regret1",)),
)
COVERAGE = ("coverage.all", "coverage.winner", "width.winner")

Figures = dict[str, float | int | str | None]
Table = list[dict[str, Any]]


def headline(rows: Iterable[Row]) -> list[Row]:
    """Targets that no model has seen, natural and shifted, at the main size: what the figures speak of."""
    return [row for row in rows if row.mode == "unseen" and row.size == MAIN_SIZE and not row.trap]


def figures(rows: Sequence[Row]) -> Figures:
    """All figures that there is code for, over all tasks and for each task."""
    found = _figures_of(headline(rows))
    tasks = by(headline(rows), lambda row: row.task)
    found["tasks"] = len(tasks)
    if any(row.method == ANCHOR for row in rows):
        found["tasks_beating_adaptivity"] = sum(_beats(part, ANCHOR, ADAPTIVITY) for part in tasks.values())
    found |= _trap_figures(rows)
    for task, part in tasks.items():
        found |= {f"task.{task}.{name}": value for name, value in _figures_of(part).items()}
    return found


def _figures_of(rows: Sequence[Row]) -> Figures:
    methods = by(rows, lambda row: row.method)
    found: Figures = {}
    for key, name, wanted in NAMED:
        for figure in wanted:
            _put(found, f"{name}.{figure}", mean(methods.get(key, []), figure))
    shifted = [row for row in methods.get(ANCHOR, []) if row.kind == "shifted"]
    _put(found, "labelshift.regret1", mean(shifted, "regret1"))
    for figure in COVERAGE:
        side, group = figure.split(".")
        _put(found, f"{side}90.{group}", mean(methods.get(BOARD, []), figure))
    return found


def _put(found: Figures, name: str, value: Mean | None) -> None:
    if value is not None:
        found[name] = round(value.value, 4)


def _beats(rows: Sequence[Row], one: str, other: str) -> bool:
    mine, theirs = (mean((row for row in rows if row.method == key), "regret1") for key in (one, other))
    return mine is not None and theirs is not None and mine.value < theirs.value


def _trap_figures(rows: Sequence[Row]) -> Figures:
    """The worst trap for the default order: its regret, and that over the regret without a trap."""
    set_out = by((row for row in rows if row.trap and row.method == ANCHOR), lambda row: row.trap)
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
        "traps": _grouped([row for row in rows if row.trap and row.trap != "labels"], lambda row: row.trap),
        "labels": _grouped([row for row in rows if row.trap == "labels"], lambda row: str(row.size)),
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
    for method, part in _ordered(rows):
        cells = {task: mean(of_task, figure) for task, of_task in by(part, lambda row: row.task).items()}
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
