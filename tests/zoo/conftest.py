from __future__ import annotations

from pathlib import Path

import pytest

from tests.zoo.folder import write_folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of labelled data in every known layout."""
    return write_folder(tmp_path_factory.mktemp("data"))
