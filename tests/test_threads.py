"""Linear algebra runs on one thread in every process of the project: quick beside other processes, and the same bits on every machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

LOOK = """
import json, config
import numpy, scipy.linalg, sklearn.linear_model
from threadpoolctl import threadpool_info
print(json.dumps([found["num_threads"] for found in threadpool_info()]))
"""


def _threads(**environment: str) -> set[int]:
    outside = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=root, env=outside | environment, capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout))


def test_one_thread_unless_the_environment_says_otherwise():
    assert _threads() == {1}
    assert _threads(OMP_NUM_THREADS="2") == {min(2, os.cpu_count() or 1)}
