"""Instances that the fault tests share; each start costs a seeding."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.instance import Instance


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="modelshop-faults-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def instance(folder: Path) -> Iterator[Instance]:
    """One worker, a lease of three seconds, three attempts."""
    made = Instance(folder / "one", JOB_LEASE_SECONDS="3", JOB_MAX_ATTEMPTS="3", OMP_NUM_THREADS="1")
    yield made
    made.close()
    print("\nseconds:", made.figures)


@pytest.fixture(scope="session")
def undisturbed(instance: Instance) -> dict[str, Any]:
    """The board of a search that nothing happened to."""
    instance.system.settle()
    search = instance.search()
    assert instance.ended(search) == "finished"
    instance.assert_scored_once(search)
    instance.assert_told_once(search)
    board = instance.board(search)
    assert len(board["rows"]) >= 15 and board["samples_done"] == board["n"] >= 1000
    assert all(row["state"] == "finished" for row in board["rows"])
    return board
