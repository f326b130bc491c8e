"""Starts an embedded PostgreSQL before pytest-django reads the settings, with durability off, and stops it at the end."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser, args: list[str]) -> None:
    # As many processes as cores run already; threads of their own would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Children of pytest-xdist inherit the address of the server that their parent started; each has a data folder of its own.
    if os.environ.get("MODELSHOP_TEST_SERVER"):
        if worker := os.environ.get("PYTEST_XDIST_WORKER"):
            os.environ["MODELSHOP_HOME"] = str(Path(os.environ["MODELSHOP_HOME"]) / worker)
        return
    os.environ.pop("DATABASE_URL", None)
    from config import postgres

    home = Path(tempfile.mkdtemp(prefix="modelshop-tests-"))
    os.environ["MODELSHOP_HOME"] = str(home)
    server = postgres.locate(home)
    server.prepare()
    process = server.popen(durable=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server.wait_ready(process)
    server.ensure_database()
    os.environ["DATABASE_URL"] = server.url
    os.environ["MODELSHOP_TEST_SERVER"] = str(process.pid)

    def clean() -> None:
        postgres.stop(process)
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(server.socket, ignore_errors=True)
        if not server.data.is_relative_to(home):
            shutil.rmtree(server.data.parent, ignore_errors=True)

    atexit.register(clean)
