"""Many models on the same samples as one plan, against the loops it replaces.

    ./dev bench engine --out FILE [--data FOLDER] [--device cuda] [--quick] [--no-compile] [--only SECTION ...]

Every workload runs in interleaved rounds: the engine, the eager loop, the loop over folded and channels-last modules, the loop over
`torch.compile`d modules, and `torch.vmap`. One thread each; its processor time counts, so that a busy machine blurs little. The
engine has planned and run them once before, as a worker has by its second search.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.engine.contenders import PEERS, Engine, Run, Workload, process_seconds
from bench.engine.costs import cost_figures
from bench.engine.measure import Row, compare
from bench.engine.real import onnx_workload
from bench.engine.scale import deduplicated, planning
from bench.engine.workloads import BARS, any_batch, heads, mixture
from bench.report import write_report
from gpuworker.core.allocator import keep_pages
from gpuworker.core.engine.calibrate import calibrate
from gpuworker.core.engine.kernels import Target

BATCHES = (1, 8, 64, 256)
SECTIONS = ("speed", "mix", "hundred", "cost", "scale")


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="./dev bench engine", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    data = os.environ.get("MODELSHOP_DATA")
    found.add_argument("--data", type=Path, default=Path(data) if data else None, help="a folder with ONNX files (default: MODELSHOP_DATA)")
    found.add_argument("--device", default="cpu", help="cpu or cuda")
    found.add_argument("--quick", action="store_true", help="fewer rounds, sizes and peers: minutes, and rougher figures")
    found.add_argument("--no-compile", action="store_true", help="leave torch.compile out: it takes most of the time")
    found.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections alone")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    if options.device != "cpu" and not torch.cuda.is_available():
        print("No CUDA device here.")
        return 2
    torch.set_num_threads(1)
    keep_pages()  # as a worker's child does; the peers run in this process and gain as much
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    bench = Bench(options.device, options.quick, options.no_compile, options.data)
    for name in options.only or SECTIONS:
        print(name, flush=True)
        getattr(bench, name)()
        # Written after every section: an interrupted run keeps what it has.
        write_report(options.out, "engine", bench.figures, bench.tables)
    print("\n".join(f"{name} {value:.4g}" for name, value in bench.figures.items()))
    return 0


class Bench:
    """One run: its engine, and the figures and tables so far. Each section is a method."""

    def __init__(self, device: str, quick: bool, no_compile: bool, data: Path | None) -> None:
        self.device, self.quick, self.data = device, quick, data
        self.rounds, self.seconds = (3, 6.0) if quick else (9, 60.0)
        self.engine = Engine(calibrate(Target(device, "fast"), seconds=8.0 if quick else 20.0), device)
        out = {"compiled": "--no-compile"} if no_compile else {}
        out |= {"compiled": "--quick", "vmap": "--quick"} if quick else {}
        self.peers = {name: make for name, make in PEERS.items() if name not in out}
        self.figures: dict[str, float] = {}
        self.tables: dict[str, list[dict[str, Any]]] = {
            "run": [{"device": device, "quick": quick, "rounds at most": self.rounds, "peers": ", ".join(self.peers)}],
            "left out": [{"peer": name, "by": why} for name, why in out.items()],
        }

    def speed(self) -> None:
        """Sets of models that have a bar of their own."""
        rows = self.tables["speed"] = []
        for name, (make, bar) in BARS.items():
            row = self._compare(make(), self.peers)
            self.figures[f"{name}.speedup"] = row.speedup
            rows.append(row.table() | {"bar over eager": bar})

    def mix(self) -> None:
        """Any kind of set at any batch size, and fine-tunes of a real file."""
        rows = [self._compare(workload, self.peers) for workload in any_batch(BATCHES[:2] if self.quick else BATCHES, 8)]
        if self.data is not None and (real := onnx_workload(self.data)) is not None:
            rows.append(self._compare(real, {"eager": self.peers["eager"]}))
        self.figures["worst_vs_best_unmerged"] = min(row.best for row in rows)
        self.figures["worst_first_plan_vs_best_unmerged"] = min(row.first for row in rows)
        self.figures["median_vs_best_unmerged"] = statistics.median(row.best for row in rows)
        self.tables["any mix, any batch (bar: 0.97 x best unmerged)"] = [row.table() for row in rows]

    def hundred(self) -> None:
        """The catalog of a team: 100 models of six architectures."""
        without = {name: make for name, make in self.peers.items() if name != "vmap"}
        # A round takes half a minute, as long as the machine keeps its pace: the median needs more than two or three.
        row = self._compare(mixture(250 if self.quick else 1000), without, 5 * self.seconds)
        self.figures["mix100.speedup"] = row.speedup
        self.tables["100 models, 10 heads, 20 partial, 70 full (bar: 1.5 x eager)"] = [row.table()]

    def cost(self) -> None:
        """Predicted against measured."""
        found, families = cost_figures(Target(self.device, "fast"), self.quick)
        self.figures |= found
        self.tables["cost model by family"] = families

    def scale(self) -> None:
        """Thousands of models planned and stored, and a process for each."""
        seconds, planned = planning(5000, self.engine.cost)
        ratio, stored = deduplicated(100 if self.quick else 1000)
        self.figures |= {"plan5000_s": seconds, "dedup.ratio": ratio}
        self.tables["planning"], self.tables["stored fine-tunes"] = [planned], [stored]
        process = process_seconds(heads(8, 1))
        self.tables["process per model"] = [{"peer": "one process per model", "seconds per model (start, run, end)": process}]

    def _compare(self, workload: Workload, peers: Mapping[str, Callable[[Workload], Run]], seconds: float = 0.0) -> Row:
        row = compare(self.engine, _on(workload, self.device), peers, self.rounds, seconds or self.seconds)
        print(f"{row.workload}: {row.speedup:.2f} x eager, {row.best:.2f} x best unmerged", flush=True)
        return row


def _on(workload: Workload, device: str) -> Workload:
    """Modules and samples on the device; the programs' tensors go there when they are laid out."""
    if device != "cpu":
        for one in workload.networks:
            one.module.to(device)
        workload.samples = {name: x.to(device) for name, x in workload.samples.items()}
    return workload
