"""Many models on the same samples as one plan, against the loops it replaces.

    ./dev bench engine --out FILE [--data FOLDER] [--device cuda] [--quick] [--no-compile]

Every workload runs in interleaved rounds: the engine, the eager loop, the loop over folded and channels-last modules, the loop over
`torch.compile`d modules, and `torch.vmap`. One thread each; its processor time counts, so that a busy machine blurs little. The
engine plans, runs and learns a few times before it is timed, as a worker has by its second search.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Sequence
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
from gpuworker.core.engine.calibrate import calibrate
from gpuworker.core.engine.kernels import Target

BATCHES = (1, 8, 64, 256)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="./dev bench engine", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    data = os.environ.get("MODELSHOP_DATA")
    found.add_argument("--data", type=Path, default=Path(data) if data else None, help="a folder with ONNX files (default: MODELSHOP_DATA)")
    found.add_argument("--device", default="cpu", help="cpu or cuda")
    found.add_argument("--quick", action="store_true", help="fewer rounds, sizes and peers: minutes, and rougher figures")
    found.add_argument("--no-compile", action="store_true", help="leave torch.compile out: it takes most of the time")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    if options.device != "cpu" and not torch.cuda.is_available():
        print("No CUDA device here.")
        return 2
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    quick, device = options.quick, options.device
    rounds, seconds = (3, 6.0) if quick else (9, 30.0)
    print("calibrating", flush=True)
    engine = Engine(calibrate(Target(device, "fast"), seconds=8.0 if quick else 20.0), device)
    out = {"compiled": "--no-compile"} if options.no_compile else {}
    out |= {"compiled": "--quick", "vmap": "--quick"} if quick else {}
    peers = {name: make for name, make in PEERS.items() if name not in out}
    skipped = [{"peer": name, "left out by": why} for name, why in out.items()]

    def run(workload: Workload, among: dict[str, Callable[[Workload], Run]] = peers) -> Row:
        row = compare(engine, _on(workload, device), among, rounds, seconds)
        print(f"{row.workload}: {row.speedup:.2f} x eager, {row.best:.2f} x best unmerged", flush=True)
        return row

    figures: dict[str, float | int | str | None] = {}
    rows = []
    for name, (make, bar) in BARS.items():
        row = run(make())
        figures[f"{name}.speedup"] = row.speedup
        rows.append(row.table() | {"bar over eager": bar})
    mixed = [run(workload) for workload in any_batch(BATCHES[:2] if quick else BATCHES, 8)]
    if options.data is not None and (real := onnx_workload(options.data)) is not None:
        mixed.append(run(real, {"eager": peers["eager"]}))
    figures["worst_vs_best_unmerged"] = min(row.best for row in mixed)
    figures["median_vs_best_unmerged"] = statistics.median(row.best for row in mixed)
    hundred = run(mixture(250 if quick else 1000), {name: make for name, make in peers.items() if name != "vmap"})
    figures["mix100.speedup"] = hundred.speedup
    print("cost model", flush=True)
    found, families = cost_figures(Target(device, "fast"), quick)
    figures |= found
    plan_s, planned = planning(5000, engine.cost)
    ratio, stored = deduplicated(100 if quick else 1000)
    figures |= {"plan5000_s": plan_s, "dedup.ratio": ratio}
    process = {"peer": "one process per model", "seconds per model (start, run, end)": process_seconds(heads(8, 1))}
    tables: dict[str, list[dict[str, Any]]] = {
        "speed": rows,
        "any mix, any batch (bar: 0.97 x best unmerged)": [row.table() for row in mixed],
        "100 models, 10 heads, 20 partial, 70 full (bar: 1.5 x eager)": [hundred.table()],
        "cost model by family": families,
        "planning": [planned],
        "stored fine-tunes": [stored],
        "process per model": [process],
        "left out": skipped,
        "run": [{"device": device, "quick": quick, "rounds": rounds}],
    }
    write_report(options.out, "engine", figures, tables)
    print("\n".join(f"{name} {value:.4g}" for name, value in figures.items() if isinstance(value, float)))
    return 0


def _on(workload: Workload, device: str) -> Workload:
    """Modules and samples on the device; the programs' tensors go there when they are laid out."""
    if device != "cpu":
        for one in workload.networks:
            one.module.to(device)
        workload.samples = {name: x.to(device) for name, x in workload.samples.items()}
    return workload
