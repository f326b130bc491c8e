"""The report: every figure by its name, the bars, and what a cut-off run leaves."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.ranking import main
from bench.ranking.aggregate import Row
from bench.ranking.bars import BARS, bars
from bench.ranking.episodes import MAIN_SIZE
from bench.ranking.report import figures, prior_figure
from bench.ranking.run import CLEAN, FEW_SAMPLES, LABEL_SHIFT, LABELS, QUICK, RACE

ISSUED = {
    *("anchor.tau", "anchor.regret1", "anchor.mae", "a_only.tau", "a_only.regret1", "adaptivity_tuned.regret1", "jsd.regret1"),
    *("dawid_skene.regret1", "labelshift.regret1", "tasks", "tasks_beating_adaptivity", "coverage90.all", "coverage90.winner"),
    *("width90.winner", "trap_worst.regret1", "trap_worst.ratio", "labels10.regret1", "labels20.regret1", "race.best_dropped"),
}
ONLY_OVERALL = {"tasks", "tasks_beating_adaptivity"}


def row(task: str, method: str, kind: str = "natural", trap: str = "", size: int = MAIN_SIZE, seed: int = 0, **numbers: float) -> Row:
    return Row(task, seed, "there", "unseen", kind, size, size, method, numbers, trap)


def rows(task: str, regret: float) -> list[Row]:
    found = [
        row(task, method, kind, tau=0.5, mae=0.1, regret1=regret * scale)
        for method, scale in (("anchor", 1), ("a_only", 2), ("jsd_hist", 4), ("dawid_skene", 3), ("adaptivity_tuned", 3))
        for kind in ("natural", "shifted")
    ]
    found.append(row(task, "board", **{"coverage.all": 0.9, "coverage.winner": 1.0, "width.winner": 0.3}))
    found += [row(task, "anchor", trap=trap, regret1=regret, tau=0) for trap in (CLEAN, "clones", LABEL_SHIFT)]
    found.append(row(task, "anchor", trap=FEW_SAMPLES, regret1=3 * regret, tau=0))
    found.append(row(task, RACE, trap=RACE, best_dropped=0.0, lost=0.0, saved=0.5, left=0.5))
    found += [row(task, "modelshop", trap=LABELS, size=size, regret1=1 / size, tau=0) for size in (10, 20)]
    return found


def test_every_figure_is_there_overall_and_for_each_task() -> None:
    found = figures([*rows("one", 0.02), *rows("two", 0.04)])
    assert set(found) >= ISSUED
    assert {f"task.{task}.{name}" for task in ("one", "two") for name in ISSUED - ONLY_OVERALL} <= set(found)
    assert found["anchor.regret1"] == pytest.approx(0.03)
    assert found["task.two.anchor.regret1"] == pytest.approx(0.04)
    assert (found["trap_worst.regret1"], found["trap_worst.ratio"]) == (pytest.approx(0.09), pytest.approx(3))
    assert (found["labels10.regret1"], found["labels20.regret1"]) == (0.1, 0.05)
    assert prior_figure(np.arange(101.0).tolist()) == {"prior100k_p95_ms": 95.0}


def test_a_task_counts_as_beaten_only_when_both_methods_beat_the_tuned_measure() -> None:
    worse = [row("two", "anchor", regret1=0.01), row("two", "a_only", regret1=0.05), row("two", "adaptivity_tuned", regret1=0.05)]
    found = figures([*rows("one", 0.02), *worse])
    assert (found["tasks"], found["tasks_beating_adaptivity"]) == (2, 1)
    assert (found["anchor.tasks_beating_adaptivity"], found["a_only.tasks_beating_adaptivity"]) == (2, 1)


def test_bars_say_by_how_much_they_are_missed() -> None:
    found = {line["figure"]: line for line in bars({"anchor.tau": 0.6, "anchor.regret1": 0.1, "coverage90.all": 0.95, "tasks": 3})}
    assert (found["anchor.tau"]["met"], found["anchor.tau"]["missed by"], found["anchor.tau"]["stretch met"]) == ("yes", None, "no")
    assert (found["anchor.regret1"]["met"], found["anchor.regret1"]["missed by"]) == ("no", 0.02)
    assert (found["coverage90.all"]["met"], found["coverage90.all"]["missed by"]) == ("no", 0.02)
    assert len(found) == 3
    assert {bar.figure for bar in BARS} <= ISSUED | {"prior100k_p95_ms"}


def test_a_whole_small_run_writes_all_of_it(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.ranking.episodes.LEAST_ROWS", 20)
    monkeypatch.setattr("bench.ranking.speed.MODELS", 200)
    monkeypatch.setattr(sys.modules["bench.ranking.main"], "ProcessPoolExecutor", lambda *_: _Here())
    monkeypatch.setattr(sys.modules["bench.ranking.main"], "QUICK", replace(QUICK, models=10, most_targets=1))
    monkeypatch.setattr("bench.ranking.run.TRAP_TARGETS", 1)
    out, cache = tmp_path / "ranking.json", tmp_path / "cache"
    options = ["--data", str(data), "--tasks", "steps_wrist", "--seeds", "3", "--out", str(out), "--cache", str(cache)]
    assert main([*options, "--quick", "--traps", "--labels"]) == 0
    document = json.loads(out.read_text())
    missing = (ISSUED | {"prior100k_p95_ms"}) - set(document["figures"])
    assert not {name for name in missing if not name.startswith(("coverage", "width"))}
    assert {"bars", "methods", "traps", "race", "labels", "tasks"} <= set(document["tables"])


class _Here:
    """The pool's interface in this process, so that what a test changes is seen."""

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function, *arguments):  # type: ignore[no-untyped-def]
        from concurrent.futures import Future

        future: Future[object] = Future()
        future.set_result(function(*arguments))
        return future
