"""The JSON every bench writes: what was measured, at which commit, on which machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

Figures = Mapping[str, float | int | str | None]
Table = Sequence[Mapping[str, Any]]
ROOT = Path(__file__).resolve().parent.parent


def commit() -> str:
    """The commit of the working tree, with "+" when tracked files differ from it; "unknown" outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def machine() -> dict[str, str | int]:
    """Facts that timings depend on; no host name."""
    facts: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def write_report(path: Path, bench: str, figures: Figures, tables: Mapping[str, Table]) -> None:
    """Write the envelope atomically; figures are named "<bench>.<figure>"."""
    document = {
        "bench": bench,
        "commit": commit(),
        "machine": machine(),
        "figures": dict(figures),
        "tables": {name: list(rows) for name, rows in tables.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)
