from __future__ import annotations

from pathlib import Path

import pytest

from bench.ranking.arrays import Pool, Scored
from bench.ranking.loading import Job, jobs, load
from tests.zoo.folder import write_folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of labelled data in every known layout."""
    return write_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def steps(data: Path) -> Job:
    return jobs(data, names=["steps_wrist"])[0][0]


@pytest.fixture(scope="session")
def arrays(cache: Path, steps: Job) -> tuple[Pool, list[Scored]]:
    """Pool and score rows of the four groups of subjects; twelve models."""
    pool, scored, skipped = load(cache, steps, 5, models=12)
    assert not skipped
    return pool, scored
